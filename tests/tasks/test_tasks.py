"""Facts about the embedded data, and what the tasks promise of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from adapters.data import image_layouts, sentence_data
from adapters.metrics.hf_evaluate import computed
from adapters.networks import text_networks
from harness import plugins
from harness.core.digests import Digest
from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.task import Task


def loaded(spec: str, seed: int = 0) -> Task:
    task: Task = plugins.build("tasks", spec)
    task.load(Randomness(spec, "", seed))
    return task


def test_mnist_5k() -> None:
    (part,) = image_layouts.mnist_5k().values()
    assert part.labels is not None
    assert np.bincount(part.labels).tolist() == [500] * 10
    assert part.images.shape == (5000, 1, 28, 28)
    assert (part.images.min(), part.images.max()) == (0, 255)


def test_sts_b() -> None:
    table = sentence_data.sts_b()
    assert {split: len(pairs.scores) for split, pairs in table.items()} == {
        "train": 5749,
        "validation": 1500,
        "test": 1379,
    }
    assert [column[0] for column in table["train"]] == [
        "A plane is taking off.", "An air plane is taking off.", 5.0
    ]  # fmt: skip


def test_images_split_evenly_and_keep_the_test_split() -> None:
    first, second = (loaded("images", seed) for seed in (0, 1))
    sizes = {name: len(list(part)) for name, part in first.splits()[0].items()}
    assert sizes == {"train": 3000, "validation": 1000, "test": 1000}
    assert first.splits()[0]["test"] == second.splits()[0]["test"]
    assert first.splits()[0]["train"] != second.splits()[0]["train"]


def test_images_are_in_range_and_views_keep_the_shape() -> None:
    task = loaded("images")
    batch = task.batch(torch.arange(4))
    assert batch.data.shape == (4, 1, 28, 28)
    assert (batch.data.min(), batch.data.max()) == (0, 255)
    torch.manual_seed(0)
    for view in task.views(batch.data):
        assert view.shape == batch.data.shape


def test_images_keep_a_pixels_channels_side_by_side_from_the_first_layer_on() -> None:
    """One channel has no order of its own: weights alone would not tell the first layer."""
    layer = next(iter(loaded("images").encoder().children()))
    assert layer(torch.rand(4, 1, 28, 28)).is_contiguous(memory_format=torch.channels_last)


def test_no_training_sentence_is_in_a_scored_pair() -> None:
    division = loaded("sentences").splits()[0]
    train = {sentence for (sentence,) in division["train"]}  # type: ignore[misc]
    scored = {s for split in ("validation", "test") for pair in division[split] for s in pair}  # type: ignore[attr-defined]
    assert len(train) == len(list(division["train"])) == 10_101
    assert not train & scored
    pairs = {split: {frozenset(p) for p in division[split]} for split in ("validation", "test")}  # type: ignore[arg-type]
    assert not pairs["validation"] & pairs["test"]
    assert len(list(division["validation"])) == 1500 - 3
    assert len(list(division["test"])) == 1379


def tokens_of(*sentences: str) -> text_networks.Tokens:
    return text_networks.pad(text_networks.tokenize(sentences, length=128))


SENTENCES = ("A plane is taking off.", "No.", "A man is playing a large flute, and a cat sleeps.")


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_packed_sentences_are_what_transformers_makes_of_padded_ones(pooling: str) -> None:
    """Values, and gradients of every weight: packing saves time and nothing else."""
    encoder = text_networks.minilm(layers=2, dropout=0.1, pooling=pooling).eval()
    tokens = tokens_of(*SENTENCES)
    packed = encoder(tokens)
    packed.square().sum().backward()
    gradients = {name: p.grad for name, p in encoder.named_parameters()}
    encoder.zero_grad()

    encoder.model.set_attn_implementation("eager")
    states = encoder.model(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state
    mask = tokens.mask[:, :, None]
    padded = states[:, 0] if pooling == "cls" else (states * mask).sum(1) / mask.sum(1)
    padded.square().sum().backward()
    torch.testing.assert_close(packed, padded)
    for name, parameter in encoder.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-4)


def test_dropout_makes_two_views_of_packed_sentences() -> None:
    encoder = text_networks.minilm(layers=1, dropout=0.1, pooling="mean").train()
    views = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        views.append(encoder(tokens_of(*SENTENCES)))
    assert torch.equal(views[0], views[1])
    assert not torch.isclose(views[0], views[2]).all(dim=1).any()


def test_a_smaller_vocabulary_changes_no_sentence_that_it_covers() -> None:
    tokens = tokens_of(*SENTENCES)
    whole = text_networks.minilm(layers=1, dropout=0.1, pooling="mean").eval()
    used = tokens.ids.flatten().tolist()
    small = text_networks.minilm(layers=1, dropout=0.1, pooling="mean", vocabulary=used).eval()
    assert len(small.model.embeddings.word_embeddings.weight) == len(set(used) | {0, 100})
    assert torch.equal(small(tokens), whole(tokens))
    unknown = tokens_of("[UNK] is taking off.")
    assert torch.equal(small(tokens_of("Snow is taking off.")), whole(unknown))


def test_words_that_are_only_read_keep_their_embeddings_and_are_in_no_state() -> None:
    tokens, snow = tokens_of(*SENTENCES), tokens_of("Snow is falling.")
    whole = text_networks.minilm(layers=1, dropout=0.1, pooling="mean").eval()
    used, read = (each.ids.flatten().tolist() for each in (tokens, snow))
    small, more = (
        text_networks.minilm(
            layers=1, dropout=0.1, pooling="mean", vocabulary=used, also_read=also
        ).eval()
        for also in ((), read)
    )
    assert torch.equal(more(snow), whole(snow))
    assert not torch.equal(small(snow), whole(snow))
    states = [encoder.state_dict() for encoder in (small, more)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    more(snow).sum().backward()
    words = more.model.embeddings.word_embeddings
    assert words.others.grad is None
    assert words.weight.grad.any(), "a word of both is trained"


def test_minilm_has_the_layers_asked_for() -> None:
    encoder = text_networks.minilm(layers=2, dropout=0.1, pooling="mean").eval()
    assert len(encoder.model.encoder.layer) == 2
    tokens = text_networks.tokenize(["A plane is taking off.", "No."], length=128)
    assert tokens[0][0] == 101  # [CLS]
    rows = encoder(text_networks.pad(tokens))
    alone = encoder(text_networks.pad(tokens[1:]))
    torch.testing.assert_close(rows[1:], alone)  # padding has no influence
    with pytest.raises(InputError, match="`layers` must be a whole number at least 0 and at most"):
        plugins.build("tasks", "sentences(layers=7)")


def test_the_digest_distinguishes_sparse_tensors() -> None:
    def of(x: torch.Tensor) -> str:
        digest = Digest()
        digest.update(x)
        return digest.hexdigest()

    x = torch.eye(3).to_sparse_coo()
    wider, moved = torch.eye(3, 4).to_sparse_coo(), torch.eye(3)[[1, 0, 2]].to_sparse_coo()
    assert of(x) == of(torch.eye(3).to_sparse_coo().coalesce())
    assert len({of(x), of(wider), of(moved), of(x * 2), of(torch.eye(3))}) == 5


def test_metrics_are_scikit_learns_and_scipys() -> None:
    from scipy.stats import spearmanr
    from sklearn.metrics import accuracy_score, f1_score

    generator = np.random.default_rng(0)
    predicted, true = generator.integers(0, 4, (2, 100))
    scores = computed(["accuracy", "macro_f1"], predicted, true)
    assert scores == {
        "accuracy": accuracy_score(true, predicted),
        "macro_f1": f1_score(true, predicted, average="macro"),
    }
    x, y = generator.normal(size=(2, 50))
    assert computed(["spearman"], x, y)["spearman"] == pytest.approx(spearmanr(x, y).statistic)


def test_metrics_need_no_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's cache is there by default: cells failed after their training."""
    locked = tmp_path / "home"
    locked.write_text("no folder")
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(locked / "cache"))
    right = np.array([0, 1])
    assert computed(["accuracy"], right, right) == {"accuracy": 1.0}


def test_a_metric_is_loaded_by_the_path_of_its_script(tmp_path: Path) -> None:
    script = tmp_path / "wrong_share.py"
    script.write_text(
        "import datasets\nimport evaluate\n"
        "class WrongShare(evaluate.Metric):\n"
        "    def _info(self):\n"
        "        value = datasets.Value('int64')\n"
        "        return evaluate.MetricInfo(description='', citation='', inputs_description='',\n"
        "            features=datasets.Features({'predictions': value, 'references': value}))\n"
        "    def _compute(self, predictions, references):\n"
        "        pairs = list(zip(predictions, references))\n"
        "        return {'wrong_share': sum(a != b for a, b in pairs) / len(pairs)}\n"
    )
    found = computed([str(script)], np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]))
    assert found == {"wrong_share": 0.25}
    with pytest.raises(InputError, match="The metric 'no_such_metric' could not be loaded"):
        computed(["no_such_metric"], np.array([0]), np.array([0]))
