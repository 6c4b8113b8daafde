"""Data sets by name: where they are looked for, fetched to, and checked."""

import gzip
import os
import struct
import warnings
from collections.abc import Callable
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import permutations
from pathlib import Path
from threading import Thread
from typing import Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile

import pytest
from synthetic import PINNED, TEXT, TOY, write_graphs, write_toy
from typer.testing import CliRunner

from harness import data
from harness.cli import app, listing
from harness.core import archives, transfers
from harness.core.archives import Member
from harness.core.errors import InputError
from harness.data import Source, checksums


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "data"))


def put(folder: Path, text: bytes = TEXT) -> Path:
    folder.mkdir(parents=True)
    (folder / "edges.txt").write_bytes(text)
    return folder


def cut_off(folder: Path) -> None:
    write_toy(folder)
    raise InputError("could not download it: connection reset")


def test_the_root_comes_before_the_environment_and_the_cache(tmp_path: Path) -> None:
    assert data.find(TOY) is None
    cached = put(tmp_path / "cache" / "data" / "toy")
    assert data.find(TOY) == cached
    shared = put(tmp_path / "data" / "old" / "toy")
    assert data.find(TOY) == shared
    mine = put(tmp_path / "mine" / "toy")
    assert data.need(TOY, str(tmp_path / "mine")) == mine


@pytest.mark.parametrize("download", [None, cut_off])
def test_a_missing_sets_error_lists_the_places_and_three_ways_to_get_it(
    tmp_path: Path, download: Callable[[Path], None] | None
) -> None:
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(InputError) as caught:
        data.need(replace(TOY, download=download), str(tmp_path / "elsewhere"))
    assert ("`triptych data fetch toy`" in str(caught.value)) == (download is not None)
    for words in (
        "The data set 'toy' is not here",
        f"{tmp_path}/elsewhere/toy, {tmp_path}/elsewhere/old/toy, {tmp_path}/data/toy",
        f"{tmp_path}/cache/data/old/toy",
        "TRIPTYCH_DATA",
        "the task's setting `root`",
        "https://example.org/toy",
    ):
        assert words in str(caught.value)


def test_a_download_is_made_once_and_checked(tmp_path: Path) -> None:
    calls = []
    source = replace(TOY, download=lambda folder: (calls.append(folder), write_toy(folder))[1])
    for _ in range(2):
        assert data.need(source) == tmp_path / "cache" / "data" / "toy"
    assert len(calls) == 1


@pytest.mark.parametrize("fault", ["other bytes", "no file", "the line is cut"])
def test_a_failed_download_leaves_no_file(tmp_path: Path, fault: str) -> None:
    def broken(folder: Path) -> None:
        if fault == "other bytes":
            (folder / "edges.txt").write_text("2 3\n")
        elif fault == "the line is cut":
            cut_off(folder)

    with pytest.raises(
        InputError, match=r"is not here: .*(instead of the pinned|missing|reset).*Three ways"
    ):
        data.need(replace(TOY, download=broken))
    left = list((tmp_path / "cache" / "data").rglob("*"))
    assert left == []


def test_one_file_is_downloaded_and_checked(tmp_path: Path) -> None:
    folder = put(tmp_path / "served")

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *given: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            transfers.download(f"{url}/edges.txt", tmp_path / "got", PINNED)
            assert (tmp_path / "got").read_bytes() == TEXT
            with pytest.raises(InputError, match=r"must have the sha256 0+: got"):
                transfers.download(f"{url}/edges.txt", tmp_path / "got", "0" * 64)
            with pytest.raises(InputError, match=r"could not download .*none.txt: HTTP Error 404"):
                transfers.download(f"{url}/none.txt", tmp_path / "got", PINNED)
        finally:
            server.shutdown()
            thread.join()
    with pytest.raises(InputError, match="`url` must start with https:// or http://: got 'file:"):
        transfers.download("file:///etc/passwd", tmp_path / "got", PINNED)


def test_a_fingerprint_depends_on_names_and_contents_but_not_on_the_folder(tmp_path: Path) -> None:
    one, two = put(tmp_path / "a"), put(tmp_path / "b" / "c")
    assert data.fingerprint(one) == data.fingerprint(two)
    (two / ".DS_Store").write_text("a finder was here")
    assert data.fingerprint(one) == data.fingerprint(two)
    before = data.fingerprint(one)
    (one / "edges.txt").write_bytes(b"0 1\n1 2\n")
    assert data.fingerprint(one) != before
    (two / "edges.txt").rename(two / "other.txt")
    assert data.fingerprint(two) != before
    (one / "edges.txt").write_bytes(TEXT)
    assert data.fingerprint(one / "edges.txt") == PINNED


def test_a_fingerprint_follows_links_and_survives_a_loop(tmp_path: Path) -> None:
    """ImageNet-100 is usually a folder of links to ImageNet's classes."""
    real, linked = put(tmp_path / "real"), tmp_path / "linked"
    linked.mkdir()
    (linked / "class").symlink_to(real)
    (real / "circle").symlink_to(linked)
    before = data.fingerprint(linked)
    (real / "edges.txt").write_bytes(b"0 1\n1 2\n")
    assert data.fingerprint(linked) != before


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold files: it is empty"):
        data.fingerprint(tmp_path)


def test_a_root_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`root` must be an existing folder: got '.*nowhere'"):
        data.find(TOY, str(tmp_path / "nowhere"))


def test_a_fingerprint_is_cached_and_a_damaged_cache_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path / "a")
    first = data.fingerprint(folder)
    read: list[Path] = []
    hashed = data.sha256_of
    monkeypatch.setattr(data, "sha256_of", lambda file: (read.append(file), hashed(file))[1])
    assert data.fingerprint(folder) == first
    assert read == []
    for memory in (tmp_path / "cache" / "fingerprints").iterdir():
        memory.write_text("{not json")
    assert data.fingerprint(folder) == first
    assert read == [folder / "edges.txt"]


# The command line


def test_every_data_set_is_described() -> None:
    known = listing.sources()
    assert {"mnist-5k", "cifar10", "sts-b", "cora", "mutag"} <= known.keys()
    for name, source in known.items():
        assert source.name == name
        assert source.modality in ("image", "sentence", "graph")
        assert source.about and source.origin and source.licence, name
        assert source.places or source.embedded, f"{name} is to be found nowhere"
        assert source.embedded or not source.wheel, name
        for pinned in source.files.values():
            assert len(pinned) == 64 and int(pinned, 16) >= 0


@pytest.fixture
def toy(plugin: Callable[..., None]) -> None:
    plugin(
        "toy_data",
        "data:toy = toy_data:SOURCES",
        "from synthetic import TOY, write_toy\nfrom dataclasses import replace\n"
        "SOURCES = {'toy': replace(TOY, download=write_toy), "
        "'lost': replace(TOY, name='lost', places=('lost',))}\n",
    )


def call(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["data", *arguments], env={"COLUMNS": "150"})
    return done.exit_code, done.output


@pytest.mark.usefixtures("toy")
def test_data_is_listed_fetched_and_checked(tmp_path: Path) -> None:
    code, words = call("list")
    assert code == 0
    assert "to fetch" in words and "toy" in words and "CC0" in words
    code, words = call("fetch", "toy")
    assert (code, f"toy: {tmp_path}/cache/data/toy" in words.replace("\n", "")) == (0, True), words
    code, words = call("check", "toy")
    assert code == 0
    assert "(as pinned)" in words
    code, words = call("show", "toy")
    assert "two nodes" in words and "CC0" in words and str(tmp_path) in words
    (tmp_path / "cache" / "data" / "toy" / "edges.txt").write_text("spoilt")
    code, words = call("check")
    assert code == 1
    assert f"instead of the pinned {PINNED}" in words


@pytest.mark.usefixtures("toy")
def test_data_that_cannot_be_fetched_is_an_error(tmp_path: Path) -> None:
    code, words = call("fetch", "lost", "toy")
    assert code == 2
    assert "Triptych has no pinned download of it" in words and "Three ways" in words
    assert (tmp_path / "cache" / "data" / "toy").exists(), "the others are fetched all the same"
    code, words = call("check", "lost")
    assert code == 2 and "nothing to check" in words
    code, words = call("fetch", "tyo")
    assert code == 2 and "There is no data set 'tyo'. Did you mean 'toy" in words


def test_checksums_make_fetch_one_line_and_ignore_the_place(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        (folder / "texts").mkdir(parents=True)
        (folder / "texts" / "a.txt").write_text("a")
        (folder / "table.csv").write_text("x,y")
    (there / "texts" / ".hidden").write_text("no")
    assert checksums(here / "table.csv", here / "texts") == checksums(
        there / "table.csv", f"{there}/texts/"
    )
    found = checksums(here / "table.csv", setting="table")
    assert [(one.setting, one.name) for one in found] == [("table", "table.csv")]
    (there / "table.csv").write_text("x,z")
    assert checksums(there / "table.csv") != checksums(here / "table.csv")
    with pytest.raises(InputError, match=r"`data` must be a file or folder that exists: got 'no.c"):
        checksums("no.csv")


def sized(**counts: Any) -> Source:
    """Return the toy set with known sizes."""
    measure = {"nodes": 2, "edges": 1}
    return replace(TOY, counts=counts, measure=lambda place: measure)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"nodes": 2, "edges": 1}, ""),
        ({"nodes": (1, 3)}, ""),
        (
            {"nodes": 1_113},
            r"'toy' must have 1,113 nodes: got 2 in here. Get the whole set",
        ),
        ({"edges": (1_500, 2_000)}, r"'toy' must have 1,500 to 2,000 edges: got 1 in here"),
    ],
)
def test_known_sizes_are_required(counts: dict[str, Any], message: str) -> None:
    source = sized(**counts)
    assert source.measure is not None
    if not message:
        data.require_counts(source, source.measure(Path()), "here")
        return
    with pytest.raises(InputError, match=message):
        data.require_counts(source, source.measure(Path()), "here")


def test_a_known_set_is_found_by_any_spelling() -> None:
    known = {"cora-ml": TOY, "imdb-binary": replace(TOY, name="other")}
    for name in ("cora-ml", "Cora_ML", "CORA-ML"):
        assert data.known(name, known) is TOY
    assert data.known("Cora ML", known) is None


@pytest.mark.parametrize("place", ["TOY", "Old/Toy", "old/toy"])
def test_places_are_found_in_any_capitals(tmp_path: Path, place: str) -> None:
    put(tmp_path / "root" / place)
    found = data.find_local(TOY, str(tmp_path / "root"))
    assert found is not None and found.samefile(tmp_path / "root" / place)


def test_a_file_changed_behind_its_times_is_read_again(tmp_path: Path) -> None:
    """Its size and its time of modification are as before; another file is in its place."""
    path = tmp_path / "data.txt"
    path.write_text("one")
    before, stat = data.fingerprint(path), path.stat()
    path.write_text("two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert data.fingerprint(path) != before
    other = tmp_path / "other"
    other.write_text("six")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    second = data.fingerprint(path)
    other.replace(path)
    assert data.fingerprint(path) != second


def test_check_and_fetch_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    put(root / "toy")
    monkeypatch.setenv("TRIPTYCH_DATA", str(root))
    for counts, text, status in (
        ({"nodes": 2}, "toy: 2 nodes, 1 edges; sha256", 0),
        ({}, "which are not known, and not checked", 0),
        ({"nodes": 3}, "toy: The data set 'toy' must have 3 nodes: got 2", 1),
    ):
        source = sized(**counts)
        monkeypatch.setattr(listing, "sources", lambda source=source: {"toy": source})
        done = CliRunner().invoke(app, ["data", "check", "toy"])
        assert done.exit_code == status and text in " ".join(done.output.split())
    checksum = data.fingerprint(data.files_of(source, root / "toy"))
    done = CliRunner().invoke(app, ["data", "show", "toy"])
    assert checksum in done.output and "3 nodes" in done.output, "records have this checksum"
    done = CliRunner().invoke(app, ["data", "fetch"])
    assert done.exit_code == 2 and "needs names of data sets, or --study NAME" in done.output
    study = tmp_path / "mine.toml"
    study.write_text('tasks = ["blobs", "images(data=\'digits\')"]\nlosses = ["infonce"]\n')
    done = CliRunner().invoke(app, ["data", "fetch", "--study", str(study)])
    assert done.exit_code == 0, done.output
    assert "blobs: none needed" in done.output and "images(data='digits'): digits " in done.output


def test_a_plugins_data_set_is_read_by_the_shipped_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: Callable[..., None]
) -> None:
    from adapters.data import graph_data
    from tasks.graphs.graphs import Graphs

    made = write_graphs(tmp_path / "made") / "tudataset" / "OWN"
    text = f"""
import shutil
from harness.data import Source

def download(folder):
    shutil.copytree({str(made)!r}, folder, dirs_exist_ok=True)

SETS = {{"ours": Source("ours", "graph", "two graphs", "https://example.org", "CC0",
                        places=("ours",), download=download)}}
"""
    plugin("their_data", "data:theirs = their_data:SETS", text)
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    Graphs(data="ours", folds=3)
    assert graph_data.load("ours").classes.tolist() == [0, 1]
    assert graph_data.content("ours").name == "ours"


def test_a_failed_download_leaves_no_folder_that_looks_like_the_set(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise InputError("could not download it")

    source = replace(TOY, places=("toy/raw", "toy"), download=fail)
    for _ in range(2):
        with pytest.raises(InputError, match=r"'toy' is not here: could not download it"):
            data.need(source)
    assert not [p for p in (tmp_path / "cache" / "data").iterdir() if not p.name.startswith(".")]


# Fingerprints: what was asked before changes nothing


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_a_fingerprint_does_not_depend_on_what_was_asked_before(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    """One file, alone or in a mapping, has its own checksum; a folder has that of its listing."""
    folder = put(tmp_path / "a")
    file = folder / "edges.txt"
    asked: list[Any] = [folder, file, {"edges.txt": file}, {"other": file}]
    found = {number: data.fingerprint(asked[number]) for number in order}
    assert found[1] == found[2] == found[3] == PINNED != found[0]
    assert found == {number: data.fingerprint(asked[number], remembered=False) for number in order}


def test_no_file_has_no_fingerprint() -> None:
    with pytest.raises(InputError, match="must have a file: got none"):
        data.fingerprint({})


# Capitals, links and order on disk


@pytest.mark.parametrize("names", [("Toy", "TOY"), ("Old/Toy", "old/TOY"), ("OLD/toy", "Old/toy")])
def test_places_that_differ_only_in_capitals_are_refused(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    for name in names:
        put(tmp_path / "data" / name)
    first, second = sorted(names)
    message = rf"^The data set 'toy' must lie at one place: got .*/{first} and .*/{second}, which"
    with pytest.raises(InputError, match=message):
        data.need(TOY)


def test_a_place_as_written_comes_before_those_in_other_capitals(tmp_path: Path) -> None:
    """Torchvision keeps MNIST in `MNIST/raw`, which is not the place `mnist`."""
    source = replace(TOY, places=("toy", "TOY/raw"))
    raw = put(tmp_path / "data" / "TOY" / "raw")
    assert data.find(source) == raw
    put(tmp_path / "data" / "Toy")
    assert data.find(source) == raw
    first = put(tmp_path / "data" / "toy")
    assert data.find(source) == first


def test_two_links_to_one_place_are_one_place(tmp_path: Path) -> None:
    real = put(tmp_path / "real")
    (tmp_path / "data").mkdir()
    for name in ("Toy", "TOY"):
        (tmp_path / "data" / name).symlink_to(real)
    found = data.find(TOY)
    assert found is not None and found.samefile(real)


@pytest.mark.parametrize("names", list(permutations(["a", "b", "c"])))
def test_all_links_to_one_folder_are_read_in_any_order_on_disk(
    tmp_path: Path, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No class is lost because another one is a link to the same folder."""
    put(tmp_path / "real" / "deep")
    (tmp_path / "set").mkdir()
    for name in names:
        (tmp_path / "set" / name).symlink_to(tmp_path / "real")
    walk = os.walk

    def in_this_order(*given: Any, **more: Any) -> Any:
        for where, folders, files in walk(*given, **more):
            folders.sort(key=lambda name: names.index(name) if name in names else 0)
            yield where, folders, files

    monkeypatch.setattr(os, "walk", in_this_order)
    assert list(data.all_files(tmp_path / "set")) == [f"{n}/deep/edges.txt" for n in "abc"]


def test_links_that_lead_nowhere_and_folders_that_cannot_be_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path / "set")
    (folder / "gone.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"link .*gone.txt must lead to a file: got none\. Copy"):
        data.fingerprint(folder)
    (folder / "gone.txt").unlink()

    def refuse(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"folder .*set must be readable: got Permission denied"):
        data.fingerprint(folder)


# Names that are a known set's and a user's own


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, which is no root."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


KNOWN = {"toy": TOY, "toy-set": replace(TOY, name="toy-set", places=("sets/TOY_set", "TOY_set"))}


@pytest.mark.parametrize("where", ["here", "data"])
@pytest.mark.parametrize("kind", ["folder", "file", "folders"])
@pytest.mark.parametrize(
    ("written", "own"),
    [("toy", "toy"), ("toy-set", "toy-set"), ("toy_set", "toy_set"), ("Toy_Set", "Toy_Set"),
     ("Toy-Set", "toy-set")],
)  # fmt: skip
def test_a_users_data_under_a_known_name_are_refused(
    tmp_path: Path, here: Path, where: str, kind: str, written: str, own: str
) -> None:
    source = replace(KNOWN[written.lower().replace("_", "-")], places=("elsewhere",))
    rival = tmp_path / where / own
    if kind == "file":
        rival.parent.mkdir(exist_ok=True)
        rival.write_text("mine")
    else:
        put(rival / "train" / "cat" if kind == "folders" else rival)
    message = rf"'{source.name}' is a known data set, and {rival} holds .*path, such as './{own}'"
    with pytest.raises(InputError, match=message + r".*; to use the known .* or run elsewhere\.$"):
        data.require_known("set", written, {source.name: source})
    data.require_known("set", f"./{own}", {source.name: source})
    if own == source.name:
        for ask in (data.find, data.need):
            with pytest.raises(InputError, match=f"^{message}"):
                ask(source)


@pytest.mark.parametrize("kind", ["nothing", "empty", "hidden", "hidden inside", "other capitals"])
def test_what_is_no_data_of_a_user_hides_no_known_set(
    tmp_path: Path, here: Path, kind: str
) -> None:
    if kind == "empty":
        (here / "toy" / "deeper").mkdir(parents=True)
    elif kind == "hidden":
        put(here / ".toy")
    elif kind == "hidden inside":
        put(here / "toy" / ".cache")
    elif kind == "other capitals":
        put(here / "ToY")
    data.require_known("set", "toy", KNOWN)
    assert data.need(replace(TOY, download=write_toy)) == tmp_path / "cache" / "data" / "toy"


@pytest.mark.parametrize(
    ("at", "root"), [("TOY_set", "."), ("TOY_set", ""), ("sets/TOY_set", ".."), ("toy_SET", ".")]
)
def test_the_place_of_a_known_set_is_that_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, root: str
) -> None:
    """The current folder is a root, or a folder in one, and `TOY_set` is written."""
    place = put(tmp_path / "data" / at)
    monkeypatch.chdir(place.parent)
    data.require_known("set", place.name, KNOWN, root)
    found = data.need(KNOWN["toy-set"], root)
    assert found.samefile(place)


def test_a_users_data_under_the_name_of_a_plugins_set_are_refused(
    here: Path, plugin: Callable[..., None]
) -> None:
    plugin("their_toy", "data:toy = their_toy:SETS", "from synthetic import TOY\nSETS={'toy': TOY}")
    data.require_known("set", "toy", {})
    put(here / "toy")
    for ask in (lambda: data.require_known("set", "toy", {}), lambda: data.user_path("toy")):
        with pytest.raises(InputError, match=r"^'toy' is a known data set, and .*here/toy holds"):
            ask()


def test_the_shipped_names_hide_no_data_of_a_user(here: Path) -> None:
    """Every task's names, as its settings check them."""
    from adapters.data import graph_data, image_data, node_data

    for sources in (graph_data.SOURCES, node_data.SOURCES, image_data.SOURCES):
        for name in sources:
            data.require_known("set", name, sources)
            put(here / name)
            with pytest.raises(InputError, match=f"'{name}' is a known data set, and {here}/"):
                data.require_known("set", name, sources)


# Zips and gzipped bytes: whole or refused


def zipped(path: Path, *members: tuple[str, bytes], how: int = ZIP_DEFLATED) -> Path:
    with warnings.catch_warnings(), ZipFile(path, "w", how) as archive:
        warnings.simplefilter("ignore")  # Of names that are written twice.
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("how", [ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA])
@pytest.mark.parametrize("fault", ["cut", "other"])
def test_a_damaged_zip_is_read_right_or_refused(tmp_path: Path, how: int, fault: str) -> None:
    """Cut at every byte, or with every byte changed."""
    content = bytes(range(200)) * 2
    whole = zipped(tmp_path / "whole.zip", ("set/a.bin", content), how=how).read_bytes()
    into = tmp_path / "into"
    into.mkdir()
    errors = []
    for place in range(len(whole)):
        spoilt = bytearray(whole)
        if fault == "other":
            spoilt[place] ^= 0xFF
        path = tmp_path / f"{place}.zip"
        path.write_bytes(spoilt[:place] if fault == "cut" else spoilt)
        try:
            assert archives.read_bytes(Member(path, "set/a.bin")) == content
        except InputError as error:
            errors.append(str(error))
        try:
            archives.unpack(path, into)
        except InputError:
            continue  # What was begun is removed with the folder of the download.
        if (into / "a.bin").exists():
            assert (into / "a.bin").read_bytes() == content
            (into / "a.bin").unlink()
    assert len(errors) == len(whole) if fault == "cut" else len(errors) > 100
    for message in errors:
        assert f"{tmp_path}/" in message and "must be readable: got " in message
        assert "Copy it again" in message


@pytest.mark.parametrize(
    ("offset", "value", "reason"), [(8, 1, "encrypted"), (10, 97, "NotImplementedError")]
)
def test_a_member_that_cannot_be_unpacked_is_refused(
    tmp_path: Path, offset: int, value: int, reason: str
) -> None:
    """Encrypted, or packed by an unknown method."""
    path = zipped(tmp_path / "a.zip", ("a.bin", TEXT))
    spoilt = bytearray(path.read_bytes())
    at = spoilt.index(b"PK\1\2") + offset
    spoilt[at] = spoilt[at - 2] = spoilt[offset - 2] = value
    path.write_bytes(spoilt)
    with pytest.raises(InputError, match=rf"member a.bin of .*a.zip must be readable: .*{reason}"):
        archives.read_bytes(Member(path, "a.bin"))


def test_a_missing_zip_and_a_missing_member_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone.zip must be readable: got FileNotFoundError"):
        archives.opened(tmp_path / "gone.zip")
    path = zipped(tmp_path / "a.zip", ("a.bin", TEXT))
    with pytest.raises(InputError, match=r"member b.bin of .*a.zip must be readable: got KeyError"):
        archives.read_bytes(Member(path, "b.bin"))


def test_a_zip_with_two_members_of_one_name_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a.bin", b"1"), ("a.bin", b"2"))
    for ask in (archives.opened, lambda path: archives.unpack(path, tmp_path)):
        with pytest.raises(InputError, match=r"one member of each name: got several named a.bin"):
            ask(path)


@pytest.mark.parametrize(
    "names", [("x/a.txt", "y/a.txt"), ("a.txt", "x/a.txt"), ("./a.txt", "/a.txt")]
)
def test_files_that_would_overwrite_each_other_are_refused(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    path = zipped(tmp_path / "a.zip", *((name, name.encode()) for name in names))
    (tmp_path / "into").mkdir()
    with pytest.raises(InputError, match=r"one file of each name: got several named a.txt\. Pack"):
        archives.unpack(path, tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []


@pytest.mark.parametrize("name", ["/etc/a.txt", "../../a.txt", "./a.txt", "x/../a.txt", "a.txt"])
def test_nothing_is_unpacked_outside_of_the_folder(tmp_path: Path, name: str) -> None:
    hidden = [("x/.hidden", b""), ("__MACOSX/b.txt", b""), ("x/..", b""), ("x/", b"")]
    path = zipped(tmp_path / "a.zip", (name, TEXT), *hidden)
    (tmp_path / "in" / "to").mkdir(parents=True)
    archives.unpack(path, tmp_path / "in" / "to")
    found = [file for file in tmp_path.rglob("*") if file.is_file() and file != path]
    assert found == [tmp_path / "in" / "to" / "a.txt"] and found[0].read_bytes() == TEXT


def test_a_zip_replaced_behind_its_time_is_opened_again(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a.bin", b"one"), how=ZIP_STORED)
    stat = path.stat()
    assert archives.read_bytes(Member(path, "a.bin")) == b"one"
    zipped(tmp_path / "b.zip", ("a.bin", b"two"), how=ZIP_STORED).replace(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert archives.read_bytes(Member(path, "a.bin")) == b"two"


def lying(path: Path) -> Path:
    """Make the one member of a zip state that it unpacks to 8 bytes."""
    spoilt = bytearray(path.read_bytes())
    struct.pack_into("<I", spoilt, 22, 8)
    struct.pack_into("<I", spoilt, spoilt.index(b"PK\1\2") + 24, 8)
    path.write_bytes(spoilt)
    return path


def test_what_unpacks_to_too_much_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    one = zipped(tmp_path / "one.zip", ("a.bin", bytes(1001)))
    many = zipped(tmp_path / "many.zip", *((f"{i}.bin", bytes(400)) for i in range(3)))
    into = tmp_path / "into"
    into.mkdir()
    for path in (one, many):
        with pytest.raises(InputError, match=r"zip must unpack to at most 1,000 bytes: got at lea"):
            archives.unpack(path, into)
    assert list(into.iterdir()) == []
    with pytest.raises(InputError, match=r"member a.bin of .* must unpack to at most 1,000 bytes"):
        archives.read_bytes(Member(one, "a.bin"))
    assert archives.read_bytes(Member(many, "2.bin")) == bytes(400)
    with pytest.raises(InputError, match=r"file a.gz must unpack to at most 1,000 bytes"):
        archives.gunzip(gzip.compress(bytes(1001)), "a.gz")


def test_no_more_is_unpacked_than_a_chunk_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that states 8 bytes and holds many millions, and such gzipped bytes."""
    import tracemalloc

    size = 100_000_000
    packed = zipped(tmp_path / "a.zip", ("a.bin", bytes(size)))
    gzipped = gzip.compress(bytes(size))
    monkeypatch.setattr(archives, "MAX_BYTES", 2 * archives.CHUNK)
    asked: list[Callable[[], object]] = [
        lambda: archives.read_bytes(Member(packed, "a.bin")),
        lambda: archives.read_bytes(Member(lying(packed), "a.bin")),
        lambda: archives.gunzip(gzipped, "a.gz"),
    ]
    for ask in asked:
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match=r"must unpack to at most|Bad CRC-32"):
                ask()
            assert tracemalloc.get_traced_memory()[1] < size / 5
        finally:
            tracemalloc.stop()


def test_damaged_gzipped_bytes_are_refused() -> None:
    whole = gzip.compress(bytes(range(200)))
    assert archives.gunzip(whole, "a.gz") == bytes(range(200))
    for length in range(1, len(whole)):
        with pytest.raises(InputError, match=r"The file a.gz must be readable: got .*Copy it agai"):
            archives.gunzip(whole[:length], "a.gz")


# Downloads reach the disk before they have their names


def test_the_files_of_a_set_reach_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "cache" / "data" / "toy"
    synced: set[int] = set()

    def sync(descriptor: int) -> None:
        assert not place.exists()
        synced.add(os.fstat(descriptor).st_ino)

    def write(folder: Path) -> None:
        write_toy(folder)
        put(folder / "deep")

    monkeypatch.setattr(os, "fsync", sync)
    data.need(replace(TOY, download=write))
    files = [place / "edges.txt", place / "deep" / "edges.txt"]
    assert {file.stat().st_ino for file in files} <= synced
