"""Networks of a user's own: in a file, with the sizes of the task, part of the key."""

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from adapters.networks import image_networks
from harness import networks, plugins
from harness.core import plugin_files, sources
from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.heads import representation_width
from harness.run.dry_run import try_cell
from harness.run.runner import run, run_one
from harness.store.identity import forget, identify
from harness.store.records import Store
from harness.study.study import Study

NETS = """
import torch
from torch import nn


class Net(nn.Sequential):
    def __init__(self, channels, size, depth=1, width=24):
        layers = [nn.Flatten(), nn.Linear(channels * size * size, width), nn.ReLU()]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.ReLU()]
        super().__init__(*layers)


class Sums(nn.Module):
    '''Sum a node's features over its neighbours, or a graph's over its nodes.'''

    def __init__(self, inputs, width):
        super().__init__()
        self.layer = nn.Linear(inputs, width)
        self.out_features = width

    def forward(self, graph):
        x = graph.x.to_dense() if graph.x.is_sparse else graph.x
        rows = self.layer(x)
        if hasattr(graph, "sizes"):
            owner = torch.repeat_interleave(torch.arange(len(graph.sizes)), graph.sizes)
            return torch.zeros(len(graph.sizes), rows.shape[1]).index_add(0, owner, rows)
        source, target = graph.edges
        return rows.relu() + torch.zeros_like(rows).index_add(0, target, rows[source])


class Words(nn.Module):
    def __init__(self, vocabulary, dropout):
        super().__init__()
        self.words, self.dropout = nn.Embedding(vocabulary, 6), nn.Dropout(dropout)
        self.last = nn.Linear(6, 5)

    def forward(self, tokens):
        mask = tokens.mask[:, :, None]
        return self.last((self.dropout(self.words(tokens.ids)) * mask).sum(1) / mask.sum(1))


class NoDropout(Words):
    def __init__(self, vocabulary):
        super().__init__(vocabulary, 0.0)


class Reads(Words):
    def __init__(self, vocabulary, dropout):
        super().__init__(vocabulary, dropout)
        open("weights.txt").close()


def greedy(channels, size, teacher):
    return nn.Identity()


def wrong(channels):
    return channels


def raises(channels):
    raise RuntimeError("no")
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"nets_{time.monotonic_ns()}.py"
    path.write_text(NETS)
    yield path
    sys.modules.pop(path.stem, None)
    plugin_files._files.pop(path.name, None)
    plugin_files._stamps.clear()
    forget()


def test_a_network_gets_the_sizes_that_it_names(nets: Path) -> None:
    made = networks.build(f"{nets.name}:Net(depth=3)", channels=1, size=8, unused=1)
    assert made(torch.zeros(2, 1, 8, 8)).shape == (2, 24)
    assert sum(isinstance(layer, nn.Linear) for layer in made) == 3


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("greedy", r"must need only what the task gives, channels, size: it also needs teacher"),
        ("wrong", r"must be a torch.nn.Module: got int"),
        ("raises", r"could not be built: RuntimeError: no"),
        ("Nett", r"There is no network in nets_\d+.py 'Nett'"),
    ],
)
def test_a_network_that_cannot_be_used_is_named(nets: Path, network: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        networks.build(f"{nets.name}:{network}", channels=1, size=8)


def test_a_tasks_spec_names_the_file_and_the_key_depends_on_its_code(nets: Path) -> None:
    spec = f"images(data='digits', steps=2, network='./{nets.name}:Net( depth = 2 )')"
    canonical = plugins.canonical("tasks", spec)
    assert f"network='{nets.name}:Net(depth=2)'" in canonical
    assert plugins.canonical("tasks", canonical) == canonical
    cell = Cell(canonical, "siamese", "infonce", 0)
    forget()
    first = identify(cell)
    nets.write_text(NETS.replace("nn.ReLU()", "nn.GELU()"))
    sources.forget()
    forget()
    second = identify(cell)
    assert first.key != second.key and first.frame != second.frame
    with pytest.raises(InputError, match=r"must be in a Python file that exists: got 'no.py'"):
        plugins.canonical("tasks", "images(network='no.py:Net')")
    with pytest.raises(InputError, match=r"`network` must be one of 'conv'.*got 'resnet19'"):
        plugins.build("tasks", "images(network='resnet19')")


def test_how_plugins_are_found_is_in_no_key() -> None:
    modules = sources.modules_of(plugins.modules("tasks", "images"))
    assert "harness.networks" in modules
    assert not {"harness.plugins", "harness.core.registry", "harness.core.plugin_files"} & {
        *modules
    }


@pytest.mark.parametrize(
    ("task", "net"),
    [
        ("images(data='digits', steps=2, draws=1, labels=5, network='{file}:Net')", "Net"),
        ("nodes(data='citeseer', network='{file}:Sums')", "Sums"),
        ("graphs(data='mutag', network='{file}:Sums')", "Sums"),
    ],
)
def test_tasks_take_networks_from_files_and_heads_follow_their_width(
    nets: Path, task: str, net: str
) -> None:
    made = plugins.build("tasks", task.format(file=nets.name))
    size = {"channels": 1, "size": 8} if net == "Net" else {"inputs": 7, "width": 5}
    made._channels, made._pixels = 1, 8
    made._graph = made._graphs = type("Data", (), {"x": torch.zeros(3, 7)})
    encoder = made.encoder()
    assert type(encoder).__name__ == net
    width = representation_width(encoder)
    assert made.head(width)[0].in_features == width
    assert width == representation_width(networks.build(f"{nets.name}:{net}", **{
        **size, "width": getattr(made, "width", 24),
    }))  # fmt: skip


def test_a_cell_trains_a_network_from_a_file(nets: Path, tmp_path: Path) -> None:
    task = f"images(data='digits', steps=3, draws=1, labels=5, network='{nets.name}:Net(depth=2)')"
    study = Study("s", tasks=[task], losses=["infonce"], seeds=1)
    summary = run(study, tmp_path / "run", jobs=1, progress=False)
    assert len(summary.done) == 2, summary.failed
    records = list(Store(tmp_path / "run").records())
    assert {(tmp_path / "run" / each.plugins / nets.name).exists() for each in records} == {True}


class Timm(ModuleType):
    """A stand-in with the signature of timm 1.0's `create_model`."""

    def create_model(self, name: str, *, pretrained: bool, in_chans: int, num_classes: int,
                     **given: Any) -> nn.Module:  # fmt: skip
        assert not pretrained and num_classes == 0
        if name == "unknown":
            raise RuntimeError("Unknown model (unknown)")
        if name.startswith("conv") and given:
            raise TypeError("got an unexpected keyword argument 'img_size'")
        model = nn.Sequential(nn.Flatten(), nn.LazyLinear(6))
        model.num_features, model.given = 6, (in_chans, given)  # type: ignore[assignment]
        return model


def test_timms_models_are_made_without_their_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", Timm("timm"))
    plain = image_networks.encoder("timm:conv_net", channels=3, size=32)
    assert plain.given == (3, {}) and representation_width(plain) == 6
    assert image_networks.encoder("timm:vit", channels=1, size=28).given == (1, {"img_size": 28})
    with pytest.raises(InputError, match=r"must be one of timm's models .*'timm:unknown' .*list_"):
        image_networks.encoder("timm:unknown", channels=1, size=28)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"needs the package timm.*pip install timm"):
        image_networks.encoder("timm:resnet18", channels=1, size=28)
    assert plugins.build("tasks", "images(network='timm:resnet18')").network == "timm:resnet18"


def words(nets: Path, name: str) -> Cell:
    return Cell(f"sentences(network='{nets.name}:{name}', steps=2)", "siamese", "infonce", 0)


def test_sentences_train_a_network_from_a_file(nets: Path, tmp_path: Path) -> None:
    assert run_one(words(nets, "Words"), tmp_path / "runs", device="cpu").kind == "done"
    (record,) = Store(tmp_path / "runs").records()
    assert record.task == f"sentences(network='{nets.name}:Words', steps=2)"
    assert record.steps == 2 and "sts_spearman" in record.scores["test"]
    settings = identify(words(nets, "Words")).values["settings"]["task"]
    assert settings["network"] == f"{nets.name}:Words" and "root" not in settings


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NoDropout", r"encoder that dropout makes two views with.*mean cosine of 1.000000"),
        ("Reads", r"network in a file must read no file of data.*'.*/weights.txt'"),
    ],
)
def test_a_network_of_sentences_that_cannot_be_compared_is_refused_at_the_first_step(
    nets: Path, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "weights.txt").write_text("1")
    assert re.search(message, try_cell(words(nets, name))["reason"])
