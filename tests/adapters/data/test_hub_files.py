"""Files of the hub, fetched from a server that speaks its protocol: whole, broken and lying."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from adapters.data import corpora, hub_files, sentence_data, senteval
from harness import data
from harness.core.errors import InputError

WIKI = b"One line.\nAnother.\n" * 50_000
"""Some megabytes of text."""


@pytest.fixture(autouse=True)
def any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "require_counts", lambda *_: None)
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRIPTYCH_DATA", "")
    monkeypatch.setattr(data, "PAUSE", 0.01)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def handler_of(
    files: dict[str, bytes], answer: Callable[[Any, bytes, int], None]
) -> type[BaseHTTPRequestHandler]:
    """Return a handler that knows `files` by the ends of their addresses, and counts requests."""

    class Handler(BaseHTTPRequestHandler):
        asked: list[tuple[str, str, str]] = []  # noqa: RUF012 - one for each server.

        def do_HEAD(self) -> None:
            self.reply(body=False)

        def do_GET(self) -> None:
            self.reply(body=True)

        def reply(self, *, body: bool) -> None:
            name = self.path.partition("?")[0].rpartition("/")[2]
            self.asked.append((self.command, self.path, self.headers.get("Range", "")))
            if name not in files:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = files[name]
            start = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0] or 0)
            self.send_response(206 if start else 200)
            self.send_header("X-Repo-Commit", hub_files.SIMCSE_REVISION)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Accept-Ranges", "bytes")
            if start:
                last = len(content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
            if not body:
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                return
            answer(self, content, start)

        def log_message(self, *given: object) -> None:
            pass

    return Handler


def whole(handler: Any, content: bytes, start: int) -> None:
    handler.send_header("Content-Length", str(len(content) - start))
    handler.end_headers()
    handler.wfile.write(content[start:])


def lying(handler: Any, content: bytes, start: int) -> None:
    """Send other bytes of the right length."""
    handler.send_header("Content-Length", str(len(content) - start))
    handler.end_headers()
    handler.wfile.write(bytes(len(content) - start))


def senteval_archive() -> bytes:
    """Return an archive of two years, SICK and two transfer sets, in folders as SentEval's."""
    files = {
        "senteval/STS/STS13-en-test/STS.input.FNWN.txt": "a\tb\nc\td\n",
        "senteval/STS/STS13-en-test/STS.gs.FNWN.txt": "1\n2\n",
        "senteval/STS/STS13-en-test/readme.txt": "about",
        "senteval/SICK/SICK_test_annotated.txt": "no",
        "senteval/MR/rt-polarity.pos": "good\n", "senteval/MR/rt-polarity.neg": "bad\n",
        "senteval/SST/binary/sentiment-train": "good\t1\nbad\t0\n",
        "senteval/SST/binary/sentiment-dev": "good\t1\n",
        "senteval/SST/binary/sentiment-test": "good\t1\n",
    }  # fmt: skip
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Start a hub on this machine; return its handler."""
    import huggingface_hub.constants as constants

    running = []

    def start(files: dict[str, bytes], answer: Callable[[Any, bytes, int], None] = whole) -> Any:
        handler = handler_of(files, answer)
        served = serving(handler)
        address = served.__enter__()
        running.append(served)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )  # fmt: skip
        return handler

    yield start
    for served in running:
        served.__exit__(None, None, None)


def test_a_corpus_is_fetched_once_at_its_revision(hub: Callable[..., Any]) -> None:
    handler = hub({"wiki1m_for_simcse.txt": WIKI})
    rows = corpora.read("wiki1m").rows
    assert len(rows) == 100_000 and rows[1] == ("Another.",)
    gets = [path for method, path, _ in handler.asked if method == "GET" and "resolve" in path]
    assert len(gets) == 1
    assert f"/datasets/{hub_files.SIMCSE}/resolve/{hub_files.SIMCSE_REVISION}/wiki1m" in gets[0]
    asked = len(handler.asked)
    corpora.read("wiki1m")
    assert len(handler.asked) == asked, "it is here"


def test_the_sets_of_senteval_come_from_one_archive(hub: Callable[..., Any]) -> None:
    handler = hub({"senteval.tar": senteval_archive()})
    year = data.need(sentence_data.SOURCES["sts13"])
    assert sorted(p.name for p in year.iterdir()) == [
        "STS.gs.FNWN.txt", "STS.input.FNWN.txt", "readme.txt"
    ]  # fmt: skip
    assert sentence_data._subset(year, "FNWN").scores.tolist() == [1.0, 2.0]  # type: ignore[union-attr]
    assert senteval.read("mr").columns == (["good", "bad"],)
    assert senteval.read("sst-2").parts.tolist() == ["train", "train", "dev", "test"]
    assert (
        len([1 for method, path, _ in handler.asked if method == "GET" and "resolve" in path]) == 1
    )
    with pytest.raises(InputError, match=r"must hold the set's files: got none of them"):
        data.need(sentence_data.SOURCES["sts16"])


def test_a_file_with_another_checksum_than_the_hub_says_is_not_kept(
    hub: Callable[..., Any], tmp_path: Path
) -> None:
    hub({"wiki1m_for_simcse.txt": WIKI}, lying)
    with pytest.raises(InputError, match=r"must have the sha256 that the hub says, [0-9a-f]{64}"):
        corpora.read("wiki1m")
    assert not [p for p in (tmp_path / "cache").rglob("wiki1m*") if p.is_file()]
    assert not list((tmp_path / "cache" / "data").glob("wiki1m*"))


def test_a_hub_without_the_file_is_an_error_that_says_how_to_get_it(
    hub: Callable[..., Any],
) -> None:
    hub({})
    message = r"'wiki1m' is not here: could not download .*Looked for .*wiki1m_for_simcse.txt\)"
    with pytest.raises(InputError, match=message):
        corpora.read("wiki1m")


# Plain downloads


def cut_after(share: float) -> Callable[[Any, bytes, int], None]:
    """Return an answer that breaks off after a share of what is left, and says nothing of it."""

    def answer(handler: Any, content: bytes, start: int) -> None:
        rest = content[start:]
        handler.send_header("Content-Length", str(len(rest)))
        handler.end_headers()
        whole_rest = len(rest) < 100_000
        handler.wfile.write(rest if whole_rest else rest[: int(share * len(rest))])
        handler.wfile.flush()
        if not whole_rest:
            handler.connection.close()

    return answer


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_transfer_that_breaks_off_is_resumed_where_it_ended(tmp_path: Path, share: float) -> None:
    handler = handler_of({"file": WIKI}, cut_after(share))
    with serving(handler) as address:
        data.download(f"{address}/file", tmp_path / "got", hashlib.sha256(WIKI).hexdigest())
    assert (tmp_path / "got").read_bytes() == WIKI
    ranges = [got for _, _, got in handler.asked]  # type: ignore[attr-defined]
    assert ranges[0] == "" and len(ranges) > 1
    starts = [int(each[6:-1]) for each in ranges[1:]]
    assert starts == sorted(starts) and starts[0] > 0, "no byte is asked for twice"


def test_a_transfer_that_keeps_breaking_off_fails_after_some_attempts(tmp_path: Path) -> None:
    with (
        serving(handler_of({"file": WIKI}, cut_after(0.0))) as address,
        pytest.raises(InputError, match=r"could not download .*/file: 2 attempts brought nothing"),
    ):
        data.download(f"{address}/file", tmp_path / "got", "0" * 64)


def test_other_bytes_of_the_right_length_are_refused(tmp_path: Path) -> None:
    wanted = hashlib.sha256(WIKI).hexdigest()
    with (
        serving(handler_of({"file": WIKI}, lying)) as address,
        pytest.raises(InputError, match=rf"must have the pinned sha256 {wanted}: got"),
    ):
        data.download(f"{address}/file", tmp_path / "got", wanted)


def test_a_server_without_ranges_sends_the_file_anew(tmp_path: Path) -> None:
    class Plain(BaseHTTPRequestHandler):
        times = 0

        def do_GET(self) -> None:
            type(self).times += 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(WIKI)))
            self.end_headers()
            self.wfile.write(WIKI[: len(WIKI) // 2] if self.times == 1 else WIKI)

        def log_message(self, *given: object) -> None:
            pass

    with serving(Plain) as address:
        data.download(f"{address}/file", tmp_path / "got", hashlib.sha256(WIKI).hexdigest())
    assert (tmp_path / "got").read_bytes() == WIKI and Plain.times == 2
