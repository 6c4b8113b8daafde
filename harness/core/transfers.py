"""Download files: resume what breaks off, and give a file its name once it is checked."""

import errno
import http.client
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from harness.core.archives import CHUNK, MAX_BYTES, sha256_of
from harness.core.errors import InputError, require
from harness.core.files import replacing

TIMEOUT_SECONDS = 60.0
"""Seconds without a byte after which a transfer counts as broken off."""

ATTEMPTS = 4
"""How many transfers in a row may bring no new byte."""

FIRST_ATTEMPTS = 2
"""The same before the first byte: without a network, nobody should wait long."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors of a disk that has no more room, which another attempt does not mend."""
PAUSE = 1.0
"""Seconds before the second attempt; each further pause takes twice as long."""

RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
"""What a server says of a part: its first byte, and the length of the whole file."""


@dataclass
class _Transfer:
    """The transfer of one file, in as many attempts as it needs.

    Attributes:
        url: its address.
        to: the file to write; what it holds is the beginning, or nothing.
        length: the whole file's, as the server says it; None if it does not.
    """

    url: str
    to: Path
    length: int | None = None

    def run(self) -> None:
        """Download the file.

        Raises:
            InputError: if the server refuses, or several attempts in a row bring no new byte.
            OSError: if the disk is full.
        """
        failures, most = 0, 0
        while True:
            try:
                self._attempt()
                return
            except urllib.error.HTTPError as error:
                raise InputError(f"could not download {self.url}: {error}") from error
            except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    raise
                # New is only a byte beyond all that were here before: otherwise a server that
                # sends a longer and a shorter beginning in turn would be asked for ever.
                have = self._size()
                failures = failures + 1 if have <= most else 1
                most = max(most, have)
                if failures >= (ATTEMPTS if most else FIRST_ATTEMPTS):
                    raise InputError(
                        f"could not download {self.url}: {failures} attempts brought nothing more: "
                        f"{error}"
                    ) from error
                time.sleep(PAUSE * 2 ** (failures - 1))

    def _size(self) -> int:
        return self.to.stat().st_size if self.to.exists() else 0

    def _attempt(self) -> None:
        """Download what the file lacks.

        Raises:
            OSError: if the transfer ends early, or the server sends something else. What does not
                belong together is removed, so that the next attempt begins anew.
        """
        have = self._size()
        request = urllib.request.Request(  # noqa: S310  `download` has checked the scheme.
            self.url, headers={"Range": f"bytes={have}-"} if have else {}
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                self._write(answer, have)
        except urllib.error.HTTPError as error:
            if not have or error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            raise self._begin_anew("it has no byte beyond those that are here") from error

    def _write(self, answer: http.client.HTTPResponse, have: int) -> None:
        if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
            said = RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if said is None or int(said[1]) != have:
                raise self._begin_anew("it sent another part than the one that was asked for")
            length: int | None = int(said[2])
            if self.length not in (None, length):
                raise self._begin_anew(f"its length was {self.length:,}, and is now {length:,}")
        elif answer.status == http.HTTPStatus.OK:  # The server knows no ranges: it sends all.
            have, length = 0, answer.length
        else:
            raise OSError(f"it answered with the status {answer.status}")
        self.length = length
        with self.to.open("ab" if have else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                require(
                    file.tell() <= MAX_BYTES,
                    f"could not download {self.url}: it has more than {MAX_BYTES:,} bytes",
                )
        size = self._size()
        if answer.chunked and length is None:  # Python checks that the last chunk has come.
            self.length = size
        elif length is not None and size > length:
            raise self._begin_anew(f"it sent more than its {length:,} bytes")
        elif length is not None and size < length:
            raise OSError(f"it ended after {size:,} of {length:,} bytes")

    def _begin_anew(self, why: str) -> OSError:
        self.to.unlink(missing_ok=True)
        self.length = None
        return OSError(why)


def download(url: str, to: Path, sha256: str = "") -> None:
    """Download one file; a transfer that breaks off is resumed where it ended.

    The file gets its name once it is complete and checked: by its checksum, or else by the length
    that the server says.

    Args:
        url: its address.
        to: the file to write.
        sha256: its checksum; empty only if the address itself names the content, such as that of
            a file at a commit.

    Raises:
        InputError: if it cannot be downloaded, or has another checksum.
    """
    if not url.startswith("https://") and not url.startswith("http://"):
        raise InputError(f"`url` must start with https:// or http://: got {url!r}.")
    with replacing(to) as partial:
        transfer = _Transfer(url, partial)
        transfer.run()
        if sha256 and (actual := sha256_of(partial)) != sha256:
            raise InputError(f"{url} must have the sha256 {sha256}: got {actual}")
        require(
            bool(sha256 or transfer.length),
            f"could not check {url}: the server sent nothing, or does not say how long it is",
        )
