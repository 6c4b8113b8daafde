"""Types of text encoders: each runs with the attention that it has, and makes two views."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from adapters.data import hf_folders
from adapters.networks.text_networks import Tokens, pad, require_two_views, sentence_encoder
from harness.core.errors import InputError

SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "vocab_size": 40, "max_position_embeddings": 64, "pad_token_id": 1, "bos_token_id": 0,
    "eos_token_id": 2,
}  # fmt: skip
TYPES: dict[str, dict[str, Any]] = {
    "bert": {}, "roberta": {}, "xlm-roberta": {}, "camembert": {}, "mpnet": {}, "electra": {},
    "albert": {"embedding_size": 16}, "deberta": {}, "deberta-v2": {},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "modernbert": {"cls_token_id": 0, "sep_token_id": 2},
}  # fmt: skip


def written(folder: Path, kind: str, padding: int = 1) -> str:
    """Write a tiny encoder of a type, of random weights, with a tokenizer of 40 words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SMALL, **TYPES[kind], "pad_token_id": padding})
    AutoModel.from_config(config).save_pretrained(folder)
    words = {w: i for i, w in enumerate(["<s>", "<pad>", "</s>", "<unk>"])}
    words |= {f"w{i}": i for i in range(4, 40)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", TYPES)
def test_a_type_of_encoder_runs_and_its_dropout_makes_two_views(tmp_path: Path, kind: str) -> None:
    name = written(tmp_path / kind, kind)
    assert hf_folders.content(name).checksum
    encoder = sentence_encoder(name, layers=0, dropout=0.1, pooling="mean")
    rates = {m.p for m in encoder.modules() if isinstance(m, nn.Dropout)}
    assert rates == {0.1}, "at every place that the model has"
    longest = hf_folders.max_tokens(name)
    sentences = [[4, 5, 6], [7] * longest, [8, 9]]
    require_two_views(encoder, pad(sentences, 1), kind, 0.1)
    encoder.eval()
    with torch.no_grad():
        together, alone = encoder(pad(sentences, 1)), encoder(pad(sentences[:1], 1))
    assert together.shape == (3, 32) and together.isfinite().all()
    torch.testing.assert_close(together[:1], alone, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("kind", TYPES)
def test_a_sentence_of_the_largest_length_fits_whatever_the_padding_is(
    tmp_path: Path, kind: str, padding: int
) -> None:
    name = written(tmp_path / kind, kind, padding)
    encoder = sentence_encoder(name, layers=0, dropout=0.1, pooling="mean")
    longest = hf_folders.max_tokens(name)
    assert longest > 55
    assert encoder(pad([[7] * longest, [8, 9]], padding)).isfinite().all()


class Still(nn.Module):
    """Sum embeddings, with dropout at a rate of its own."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.dropout = nn.Embedding(40, 16), nn.Dropout(rate)
        self.norm = nn.BatchNorm1d(16)

    def forward(self, tokens: Tokens) -> torch.Tensor:
        return self.norm(self.dropout(self.words(tokens.ids)).sum(dim=1))


@pytest.mark.parametrize(("rate", "refused"), [(0.0, True), (1e-5, True), (0.1, False)])
def test_views_that_are_nearly_equal_are_refused(rate: float, refused: bool) -> None:
    encoder, tokens = Still(rate), pad([[i, i + 1, i + 2] for i in range(4, 20)])
    before, state = torch.get_rng_state(), {k: v.clone() for k, v in encoder.state_dict().items()}
    if refused:
        with pytest.raises(InputError, match=r"two of 'mine' at dropout=0.1 have a mean cosine of"):
            require_two_views(encoder, tokens, "'mine'", 0.1)
    else:
        require_two_views(encoder, tokens, "'mine'", 0.1)
    assert torch.equal(torch.get_rng_state(), before), "no other random number is drawn"
    assert all(torch.equal(v, state[k]) for k, v in encoder.state_dict().items()), "nor a statistic"
