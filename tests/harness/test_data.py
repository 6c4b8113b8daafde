"""Data sets by name: where they are looked for, fetched to, and checked."""

import os
from collections.abc import Callable
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from synthetic import PINNED, TEXT, TOY, write_graphs, write_toy
from typer.testing import CliRunner

from harness import data
from harness.cli import app, listing
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
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            data.download(f"{url}/edges.txt", tmp_path / "got", PINNED)
            assert (tmp_path / "got").read_bytes() == TEXT
            with pytest.raises(InputError, match=r"must have the pinned sha256 0+: got"):
                data.download(f"{url}/edges.txt", tmp_path / "got", "0" * 64)
            with pytest.raises(InputError, match=r"could not download .*none.txt: HTTP Error 404"):
                data.download(f"{url}/none.txt", tmp_path / "got", PINNED)
        finally:
            server.shutdown()
            thread.join()
    with pytest.raises(InputError, match="`url` must start with https:// or http://: got 'file:"):
        data.download("file:///etc/passwd", tmp_path / "got", PINNED)


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
    hashed = data._sha256
    monkeypatch.setattr(data, "_sha256", lambda file: (read.append(file), hashed(file))[1])
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
