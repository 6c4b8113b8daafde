"""Files of the hub, fetched from a server that speaks its protocol: whole, broken and lying."""

import gzip
import hashlib
import io
import os
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
from harness.core import transfers
from harness.core.errors import InputError

WIKI = b"One line.\nAnother.\n" * 50_000
"""Some megabytes of text."""


@pytest.fixture(autouse=True)
def any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "require_counts", lambda *_: None)
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRIPTYCH_DATA", "")
    monkeypatch.setattr(transfers, "PAUSE", 0.01)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
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
    with pytest.raises(InputError, match=r"must have the sha256 [0-9a-f]{64}: got"):
        corpora.read("wiki1m")
    assert kept(tmp_path) == []


def kept(tmp_path: Path) -> list[str]:
    """Return the names of the files in the cache; locks may stay."""
    found = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    return [path.name for path in found if path.suffix != ".lock"]


@pytest.mark.parametrize("answer", [whole, lying])
def test_a_file_whose_check_was_cut_off_is_downloaded_again(
    hub: Callable[..., Any],
    tmp_path: Path,
    answer: Callable[[Any, bytes, int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process is killed between the download and the check."""
    hub({"wiki1m_for_simcse.txt": WIKI}, answer)
    arguments = (hub_files.SIMCSE, hub_files.SIMCSE_REVISION, "wiki1m_for_simcse.txt")
    child = os.fork()
    if not child:
        monkeypatch.setattr(transfers, "sha256_of", lambda file: os._exit(9))
        try:
            hub_files.fetch(*arguments)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert [name[:5] for name in kept(tmp_path)] == [".tmp-"]
    if answer is lying:
        with pytest.raises(InputError, match=r"must have the sha256"):
            hub_files.fetch(*arguments)
        assert kept(tmp_path) == []
    else:
        assert hub_files.fetch(*arguments).read_bytes() == WIKI
        assert kept(tmp_path) == ["wiki1m_for_simcse.txt"]


def test_files_of_one_name_in_the_archive_are_refused(hub: Callable[..., Any]) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for folder in ("senteval", "copy"):
            member = tarfile.TarInfo(f"{folder}/SICK/SICK_test_annotated.txt")
            archive.addfile(member, io.BytesIO())
    hub({"senteval.tar": made.getvalue()})
    with pytest.raises(InputError, match=r"one file of each name: got 2 files of 1 names, SICK_te"):
        data.need(sentence_data.SOURCES["sick-r"])


@pytest.mark.parametrize("kind", ["whole", "gz"])
def test_an_archive_that_unpacks_to_too_much_is_refused(
    hub: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    content = senteval_archive()
    hub({"senteval.tar": gzip.compress(content) if kind == "gz" else content})
    monkeypatch.setattr(hub_files, "MAX_BYTES", 10)
    with pytest.raises(InputError, match=r"senteval.tar must unpack to at most 10 bytes"):
        data.need(sentence_data.SOURCES["sts13"])


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
        transfers.download(f"{address}/file", tmp_path / "got", hashlib.sha256(WIKI).hexdigest())
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
        transfers.download(f"{address}/file", tmp_path / "got", "0" * 64)


def test_other_bytes_of_the_right_length_are_refused(tmp_path: Path) -> None:
    wanted = hashlib.sha256(WIKI).hexdigest()
    with (
        serving(handler_of({"file": WIKI}, lying)) as address,
        pytest.raises(InputError, match=rf"must have the sha256 {wanted}: got"),
    ):
        transfers.download(f"{address}/file", tmp_path / "got", wanted)


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
        transfers.download(f"{address}/file", tmp_path / "got", hashlib.sha256(WIKI).hexdigest())
    assert (tmp_path / "got").read_bytes() == WIKI and Plain.times == 2


# Servers that do not do as they should


BODY = bytes(range(256)) * 20
HALF = len(BODY) // 2
Answer = Callable[[Any, int], None]
"""Sends the answer to a request for all bytes from a start on."""


def said(handler: Any, status: int, body: bytes, **headers: object) -> None:
    """Send an answer, and close the connection."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True


def beginning(size: int, length: int = len(BODY)) -> Answer:
    """Send the whole file's beginning, whatever is asked for, and break off."""
    return lambda handler, start: said(handler, 200, BODY[:size], Content_Length=length)


def all_of_it(handler: Any, start: int) -> None:
    said(handler, 200, BODY, Content_Length=len(BODY))


def part(first: int | None = None, last: int | None = None, total: object = len(BODY)) -> Answer:
    """Send a part that may differ from the one that is asked for, and say so."""

    def answer(handler: Any, start: int) -> None:
        begin = start if first is None else first
        end = len(BODY) if last is None else last
        body = (BODY + BODY)[begin:end]
        span = f"bytes {begin}-{end - 1}/{total}"
        said(handler, 206, body, Content_Range=span, Content_Length=len(body))

    return answer


def unasked_part(handler: Any, start: int) -> None:
    said(handler, 206, BODY[HALF:], Content_Length=len(BODY) - HALF)


def no_range(handler: Any, start: int) -> None:
    said(handler, 416, b"", Content_Range=f"bytes */{len(BODY)}", Content_Length=0)


def no_length(size: int) -> Answer:
    """Send a beginning, and say nothing of the length."""
    return lambda handler, start: said(handler, 200, BODY[:size])


def in_chunks(size: int, *, end: bool) -> Answer:
    def answer(handler: Any, start: int) -> None:
        body = b"%x\r\n%s\r\n" % (size, BODY[:size]) + (b"0\r\n\r\n" if end else b"")
        said(handler, 200, body, Transfer_Encoding="chunked")

    return answer


def nothing(handler: Any, start: int) -> None:
    said(handler, 200, b"", Content_Length=0)


def other(status: int) -> Answer:
    return lambda handler, start: said(handler, status, b"")


@contextmanager
def answering(first: list[Answer], then: list[Answer]) -> Iterator[tuple[str, list[str]]]:
    """Serve `first` one by one, and then `then` in turn; yield the address and what is asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            number = len(asked)
            asked.append(wanted)
            rest = number - len(first)
            answer = first[number] if rest < 0 else then[rest % len(then)]
            answer(self, int(wanted[6:].partition("-")[0] or 0))

        def log_message(self, *given: object) -> None:
            pass

    with serving(Handler) as address:
        yield f"{address}/file", asked


CHECKED = [hashlib.sha256(BODY).hexdigest(), ""]
"""With the file's checksum, and without."""


@pytest.mark.parametrize("sha256", CHECKED, ids=["checked", "unchecked"])
@pytest.mark.parametrize(
    "faults",
    {
        "another start": [beginning(HALF), part(0)],
        "a later start": [beginning(HALF), part(HALF + 7)],
        "no word of the start": [beginning(HALF), unasked_part],
        "more than the file": [beginning(HALF), part(last=len(BODY) + 9)],
        "less than the rest": [beginning(HALF), part(last=HALF + 9), part(last=HALF + 99)],
        "another length": [beginning(HALF), part(last=HALF + 9, total=HALF + 9)],
        "no length of the whole": [beginning(HALF), part(total="*")],
        "the file grew": [beginning(HALF, HALF + 9), part()],
        "no such range": [beginning(HALF), no_range],
        "a part at once": [part(7, HALF)],
        "a shorter beginning": [beginning(HALF), beginning(HALF - 9)],
        "nothing after half": [beginning(HALF), beginning(0)],
        "a cut chunk": [in_chunks(HALF, end=False)],
        "another success": [beginning(HALF), other(204)],
    }.items(),
    ids=lambda pair: pair[0],
)  # fmt: skip
@pytest.mark.parametrize("last", [all_of_it, part(), in_chunks(len(BODY), end=True)])
def test_after_a_fault_of_the_server_the_file_is_right(
    tmp_path: Path, faults: tuple[str, list[Answer]], last: Answer, sha256: str
) -> None:
    with answering(faults[1], [last]) as (url, asked):
        transfers.download(url, tmp_path / "got", sha256)
    assert (tmp_path / "got").read_bytes() == BODY
    assert len(asked) == len(faults[1]) + 1
    assert [path.name for path in tmp_path.iterdir()] == ["got"]


@pytest.mark.parametrize("sha256", CHECKED, ids=["checked", "unchecked"])
@pytest.mark.parametrize(
    "answers",
    {
        "nothing": [beginning(0)],
        "longer and shorter": [beginning(99), beginning(50)],
        "half and nothing": [beginning(HALF), beginning(0)],
        "three in turn": [beginning(99), beginning(0), beginning(98)],
        "no such range": [beginning(HALF), no_range],
        "another start": [beginning(HALF), part(3)],
        "a part at once": [part(7)],
        "cut chunks": [in_chunks(HALF, end=False)],
        "another success": [other(202)],
    }.items(),
    ids=lambda pair: pair[0],
)  # fmt: skip
def test_a_server_that_brings_nothing_more_is_not_asked_for_ever(
    tmp_path: Path, answers: tuple[str, list[Answer]], sha256: str
) -> None:
    (tmp_path / "got").write_text("before")
    with answering([], answers[1]) as (url, asked):  # noqa: SIM117
        with pytest.raises(InputError, match=r"could not download .*attempts brought nothing more"):
            transfers.download(url, tmp_path / "got", sha256)
    assert len(asked) <= 2 * transfers.ATTEMPTS
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


@pytest.mark.parametrize("answer", [no_length(HALF), no_length(len(BODY)), nothing])
def test_a_file_with_neither_a_checksum_nor_a_length_is_refused(
    tmp_path: Path, answer: Answer
) -> None:
    with answering([], [answer]) as (url, _), pytest.raises(InputError, match="could not check"):
        transfers.download(url, tmp_path / "got")
    assert list(tmp_path.iterdir()) == []


def test_a_download_without_an_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "MAX_BYTES", 99)
    for answer in (all_of_it, no_length(len(BODY)), in_chunks(len(BODY), end=True)):
        with (
            answering([], [answer]) as (url, _),
            pytest.raises(InputError, match=r"could not download .*: it has more than 99 bytes"),
        ):
            transfers.download(url, tmp_path / "got", CHECKED[0])
    assert list(tmp_path.iterdir()) == []
