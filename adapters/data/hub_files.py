"""Download files of data sets on the Hugging Face hub, each at a fixed revision."""

import re
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from harness.core.archives import MAX_BYTES
from harness.core.errors import InputError, require
from harness.core.files import sweep
from harness.core.transfers import download
from harness.data import cache_folder

SIMCSE = "princeton-nlp/datasets-for-simcse"
SIMCSE_REVISION = "e145e8bb659b2aa2669f32ef79cb4cdef6c58fef"
SENTEVAL = "senteval.tar"
"""An archive of all of SentEval's data sets, in the repository of SimCSE's authors."""


SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(repository: str, revision: str, name: str) -> Path:
    """Return a file of a data set on the hub; download it if it is not in the cache.

    It appears there under its name only once it is whole and checked, so a file that is there was
    checked. If several processes need it at the same time, one downloads it.

    Raises:
        InputError: if it cannot be downloaded or written, or has another checksum.
    """
    path = cache_folder() / "hub" / repository / revision / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with FileLock(path.with_name(f"{path.name}.lock")):
                if not path.exists():
                    sweep(path.parent)
                    _download(repository, revision, name, path)
    except OSError as error:
        raise InputError(
            f"could not write {path}: {error}. Free some space, or name another folder in the "
            "environment variable TRIPTYCH_CACHE."
        ) from error
    return path


def _download(repository: str, revision: str, name: str, path: Path) -> None:
    """Download a file, and check the sha256 that the hub states of files stored with git-lfs."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(repository, name, repo_type="dataset", revision=revision)
    try:
        stated = get_hf_file_metadata(url).etag or ""
    except Exception as error:  # The library raises many types.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"could not download {url}: {reason}") from error
    # Of a small file the hub states another checksum; its length is checked.
    download(url, path, stated if SHA256.fullmatch(stated) else "")


def copy(folder: Path, *, name: str) -> None:
    """Write one file of SimCSE's repository into a folder."""
    shutil.copyfile(fetch(SIMCSE, SIMCSE_REVISION, name), folder / name)


def unpack_senteval(folder: Path, *, wanted: Callable[[str], bool]) -> None:
    """Write chosen files of SentEval's archive into one folder, without their sub-folders.

    Args:
        folder: where to write them.
        wanted: whether a path in the archive is that of a file to write.

    Raises:
        InputError: if the archive holds no such file, two of one name, or cannot be read.
    """
    archive = fetch(SIMCSE, SIMCSE_REVISION, SENTEVAL)
    try:
        with tarfile.open(archive) as opened:
            chosen = [m for m in opened.getmembers() if m.isfile() and wanted(m.name)]
            found = {member.name.rpartition("/")[2]: member for member in chosen}
            require(bool(found), f"{archive} must hold the set's files: got none of them")
            require(
                len(found) == len(chosen),
                f"{archive} must hold one file of each name: got {len(chosen)} files of "
                f"{len(found)} names, {', '.join(sorted(found))}",
            )
            size = sum(member.size for member in chosen)
            require(size <= MAX_BYTES, f"{archive} must unpack to at most {MAX_BYTES:,} bytes")
            for name, member in found.items():
                content = opened.extractfile(member)
                assert content is not None
                with (folder / name).open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{archive} could not be read: {error}") from error
