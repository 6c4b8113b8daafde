"""Decoded images on disks that are full, and in files that somebody changes meanwhile.

What would kill a process is tried in a process of its own.
"""

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, environment
from PIL import Image

from adapters.data import image_layouts
from harness.core.errors import InputError

FULL = """
import os, resource, shutil, sys
from collections import namedtuple
from pathlib import Path
from adapters.data import image_data
from harness.core.errors import InputError

how, disk = sys.argv[1], Path(sys.argv[2])
usage = shutil.disk_usage
# The first look at the disk sees much room, as if others filled it only afterwards.
looks = []
def at_first_free(path):
    looks.append(path)
    return usage(path)._replace(free=1 << 40) if len(looks) == 1 else usage(path)
shutil.disk_usage = at_first_free
ballast, tried, refused = disk / "ballast", 0, 0
for room in [*range(0, 112, 10), *range(112, 134)]:
    os.environ["TRIPTYCH_CACHE"] = str(disk / "cache")
    if how == "full":
        ballast.write_bytes(b"")
        free = os.statvfs(disk)
        ballast.write_bytes(bytes(free.f_frsize * (free.f_bavail - room)))
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096 * room, resource.RLIM_INFINITY))
    looks.clear()
    try:
        pictures = image_data.load("digits", "", 16)
        assert int(pictures.images.sum()) == int(sys.argv[3])
    except InputError as error:
        refused += 1
        said = str(error)
        for word in (str(disk / "cache" / "images"), "TRIPTYCH_CACHE"):
            assert word in said, said
        assert "No space left" in said or "File too large" in said or "written" in said, said
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert not list((disk / "cache" / "images").glob(".*/")), "what was half written is left"
    shutil.rmtree(disk / "cache")
    pictures = None
    image_data._opened.cache_clear()  # An open file takes its space even after it was removed.
    tried += 1
print(tried, refused)
"""


def in_a_process(code: str, *arguments: str) -> str:
    """Return what a script prints; fail with its last words if it is killed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, env=environment(PYTHONPATH=str(ROOT)), check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


def digits(cache: Path) -> int:
    """Return the sum of all pixels of the digits in 16 x 16."""
    code = "from adapters.data import image_data as i; print(i.load('digits', '', 16).images.sum())"
    return int(in_a_process(f"import os; os.environ['TRIPTYCH_CACHE'] = {str(cache)!r}; {code}"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one MiB, where this machine lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_gets_full_anywhere_in_a_decoding_is_an_error(
    disk: Path, tmp_path: Path
) -> None:
    """Written through a memory map, the images killed the process."""
    tried, refused = map(int, in_a_process(FULL, "full", str(disk), str(digits(tmp_path))).split())
    assert tried == 34
    assert 10 < refused < tried


def test_a_limit_on_files_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    tried, refused = map(
        int, in_a_process(FULL, "limit", str(folder), str(digits(tmp_path))).split()
    )
    assert tried == 34
    assert 10 < refused < tried


def test_too_little_space_is_said_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapters.data import image_data

    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    usage = image_data.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        image_data.shutil, "disk_usage", lambda folder: usage._replace(free=488_783)
    )
    monkeypatch.setattr(image_data, "_blocks", lambda *_: pytest.fail("decoded"))
    with pytest.raises(
        InputError,
        match=r"Could not decode digits into .*digits-16-.*: there is too little space \(488,784 "
        r"bytes are needed, and 488,783 are free there\)\. Free some space, .* TRIPTYCH_CACHE",
    ):
        image_data.prepare("digits", "", 16)


CHANGED = """
import os, shutil, sys
from pathlib import Path
from adapters.data import image_data

os.environ["TRIPTYCH_CACHE"] = sys.argv[1]
def cut(to):
    return lambda file: os.truncate(file, int(file.stat().st_size * to))
def write(content, place):
    def change(file):
        with file.open("rb+") as opened:
            opened.seek(place, 2 if place < 0 else 0)
            opened.write(content)
    return change
def to_folder(file):
    file.unlink()
    file.mkdir()
changes = {
    "cut to nothing": cut(0), "cut to a tenth": cut(0.1), "cut by half": cut(0.5),
    "cut by a little": cut(0.999), "grown": cut(1.5), "another end": write(b"X", -1),
    "another beginning": write(b"X", 0), "removed": Path.unlink, "a folder": to_folder,
}
first, tried = image_data.load("digits", "", 8), 0
(folder,) = [path for path in Path(sys.argv[1], "images").iterdir() if path.is_dir()]
truth = [first.images.sum(), first.labels.sum(), first.train.sum(), first.test.sum(), first.mean]
for name in ("images.npy", "labels.npy", "train.npy", "test.npy", "unlabelled.npy", "about.json"):
    for what, change in changes.items():
        change(folder / name)
        found = image_data.load("digits", "", 8)
        now = [found.images.sum(), found.labels.sum(), found.train.sum(), found.test.sum(),
               found.mean]
        assert now == truth, (name, what)
        tried += 1
print(tried)
"""


def test_decoded_images_that_were_changed_are_decoded_anew(tmp_path: Path) -> None:
    """Even in a process that has them open: it read on in the file that was cut."""
    assert int(in_a_process(CHANGED, str(tmp_path))) == 54


UNMAPPED = """
import os, sys
from pathlib import Path
from adapters.data import image_data
from harness import data

os.environ["TRIPTYCH_CACHE"] = sys.argv[1] + "/cache"
data.require_counts = lambda *_: None
maps = []
sys.addaudithook(lambda event, arguments: event == "mmap.__new__" and maps.append(arguments))
for name, root in (("digits", ""), ("stl10", sys.argv[1]), (sys.argv[1] + "/mine", "")):
    image_data.prepare(name, root, 0)
    assert not maps, (name, maps)
    image_data.prepare(name, root, 0)
    assert not maps, (name, maps)
    image_data.load(name, root, 0)
    assert len(maps) == 1, (name, maps)
    maps.clear()
"""


def stl10(folder: Path) -> dict[str, Any]:
    """Write 8 images in STL-10's layout; return them."""
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 96, 96), dtype=np.uint8)
    parts = {"train": images[:4], "test": images[4:6], "unlabeled": images[6:]}
    folder.mkdir()
    for name, part in parts.items():
        (folder / f"{name}_X.bin").write_bytes(part.swapaxes(2, 3).tobytes())
        (folder / f"{name}_y.bin").write_bytes(bytes([1, 2, 1, 2][: len(part)]))
    return {name.replace("unlabeled", "unlabelled"): part for name, part in parts.items()}


def test_a_plan_reads_no_images_through_a_memory_map(tmp_path: Path) -> None:
    """The main process plans: a file that is cut under a map would kill it."""
    stl10(tmp_path / "stl10_binary")
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            file = tmp_path / "mine" / split / name / "1.png"
            file.parent.mkdir(parents=True)
            content = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(content, "png")
            file.write_bytes(content.getvalue())
    in_a_process(UNMAPPED, str(tmp_path))


@pytest.mark.parametrize("part", ["train", "test", "unlabelled"])
@pytest.mark.parametrize("left", [0, 1, 27_647, 27_648, 27_649, 55_295, None])
def test_stl10_files_that_are_cut_while_they_are_read_are_errors(
    tmp_path: Path, part: str, left: int | None
) -> None:
    images = stl10(tmp_path / "stl10")
    parts = image_layouts.stl10(tmp_path / "stl10")
    for name, truth in images.items():
        np.testing.assert_array_equal(np.stack(list(parts[name].images)), truth)
    file = tmp_path / "stl10" / f"{part.replace('unlabelled', 'unlabeled')}_X.bin"
    if left is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:left])
    for index in range(len(images[part])):
        if left is not None and left >= (index + 1) * image_layouts.StlImages.BYTES:
            np.testing.assert_array_equal(parts[part].images[index], images[part][index])
            continue
        with pytest.raises(InputError, match=rf"{file.name} must (hold whole|be readable).*again"):
            parts[part].images[index]
