"""Download files of data sets on the Hugging Face hub, each at a fixed revision."""

import hashlib
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness.core.errors import InputError, require
from harness.data import cache_folder

SIMCSE = "princeton-nlp/datasets-for-simcse"
SIMCSE_REVISION = "e145e8bb659b2aa2669f32ef79cb4cdef6c58fef"
SENTEVAL = "senteval.tar"
"""An archive of all of SentEval's data sets, in the repository of SimCSE's authors."""


def fetch(repository: str, revision: str, name: str) -> Path:
    """Return a file of a data set on the hub; download it if it is not in the cache.

    ``huggingface_hub`` resumes a broken download. For files stored with git-lfs, the hub states the
    sha256, and this function checks it.

    Raises:
        InputError: if it cannot be downloaded, or has another checksum.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    url = hf_hub_url(repository, name, repo_type="dataset", revision=revision)
    download = partial(
        hf_hub_download, repository, name, repo_type="dataset", revision=revision,
        cache_dir=cache_folder() / "hub",
    )  # fmt: skip
    try:
        return Path(download(local_files_only=True))  # It was checked when it was downloaded.
    except LocalEntryNotFoundError:
        pass
    try:
        path = Path(download())
        wanted = str(get_hf_file_metadata(url).etag or "")
    except Exception as error:  # The library raises many types.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"could not download {url}: {reason}") from error
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if len(wanted) == len(actual) and wanted != actual:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise InputError(f"{url} must have the sha256 that the hub says, {wanted}: got {actual}")
    return path


def copy(folder: Path, *, name: str) -> None:
    """Write one file of SimCSE's repository into a folder."""
    (folder / name).write_bytes(fetch(SIMCSE, SIMCSE_REVISION, name).read_bytes())


def unpack_senteval(folder: Path, *, wanted: Callable[[str], bool]) -> None:
    """Write chosen files of SentEval's archive into one folder, without their sub-folders.

    Args:
        folder: where to write them.
        wanted: whether a path in the archive is that of a file to write.

    Raises:
        InputError: if the archive holds no such file, or cannot be read.
    """
    archive = fetch(SIMCSE, SIMCSE_REVISION, SENTEVAL)
    try:
        with tarfile.open(archive) as opened:
            found = [m for m in opened.getmembers() if m.isfile() and wanted(m.name)]
            for member in found:
                content = opened.extractfile(member)
                assert content is not None
                (folder / member.name.rpartition("/")[2]).write_bytes(content.read())
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"{archive} could not be read: {error}") from error
    require(bool(found), f"{archive} must hold the set's files: got none of them")
