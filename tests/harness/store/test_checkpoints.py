"""A cell that is stopped and goes on gives, bit for bit, what an undisturbed one gives."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import plugins
from harness.core.randomness import Randomness
from harness.core.states import load, save
from harness.store import checkpoints as module
from harness.store.checkpoints import Checkpoints, Stopped
from harness.training.loop import Diverged, Outcome, fit

numbers = st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.none()
tensors = st.sampled_from(
    [
        torch.arange(6).view(2, 3).T,
        torch.zeros(0),
        torch.tensor(2.5),
        torch.ones(2).bfloat16(),
        torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
    ]
)
states = st.recursive(
    numbers | st.booleans() | tensors,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and one.stride() == two.stride() and torch.equal(one, two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple):
        return (
            type(one) is type(two)
            and len(one) == len(two)
            and all(same(a, b) for a, b in zip(one, two, strict=True))
        )
    return type(one) is type(two) and bool(one == two)


@settings(deadline=None, max_examples=50)
@given(state=st.dictionaries(st.text(max_size=3), states, max_size=3))
def test_a_state_is_loaded_as_it_was_saved(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("state") / "state.safetensors"
    save(path, state)
    found = load(path)
    assert same(state, found)


def test_infinities_and_tied_weights_are_loaded_as_saved(tmp_path: Path) -> None:
    weight = torch.randn(3, 3)
    save(tmp_path / "x", {"inf": math.inf, "a": weight, "b": weight, "row": weight[1]})
    found = load(tmp_path / "x")
    assert found is not None
    assert found["inf"] == math.inf
    assert torch.equal(found["a"], weight) and torch.equal(found["row"], weight[1])


@pytest.mark.parametrize("value", [object(), {1.5: 2}, {"x": {3}}])
def test_saving_other_than_plain_values_is_an_error(tmp_path: Path, value: Any) -> None:
    with pytest.raises(TypeError, match="state must be"):
        save(tmp_path / "x", {"value": value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("harm", ["cut", "flip"])
def test_a_damaged_state_is_not_loaded(tmp_path: Path, place: float, harm: str) -> None:
    path = tmp_path / "x"
    save(path, {"weights": torch.arange(1000.0), "step": 3})
    content = bytearray(path.read_bytes())
    at = int(len(content) * place)
    if harm == "cut":
        del content[at:]
    else:
        content[at] ^= 1
    path.write_bytes(content)
    assert load(path) is None


# Every loss and method, on every modality, is stopped and continued by `check_cell`.
CELLS = [
    ("blobs(steps=12)", "siamese", "sogclr"),
    ("blobs(steps=12)", "moco(queue=100)", "siglip"),
    ("scheduled(steps=12)", "siamese", "infonce"),
    ("images(steps=4, batch_size=32)", "siamese", "adnce"),
    ("blobs(steps=12)", "siamese", "infonce_cosine"),
    ("images(steps=4, batch_size=32, accumulate=2)", "moco_v3", "hcl_curriculum"),
]
TIMES = {"train_seconds", "evaluate_seconds", "earlier_seconds", "continued"}


def train(cell: tuple[str, str, str], path: Path | None = None, stop_at: int = 0) -> Outcome:
    """Run a cell in this process, as after a fresh start; ``stop_at`` a step if asked."""
    task, method, loss = (
        plugins.build(group, spec)
        for group, spec in zip(("tasks", "methods", "losses"), cell, strict=True)
    )
    keep = Checkpoints(path)
    # Whatever was drawn before a cell must not matter to it.
    torch.manual_seed(stop_at)

    def report(step: int, steps: int, value: float) -> None:
        keep.stop_requested = step == stop_at

    return fit(
        task, method, loss, Randomness(cell[0], cell[1], 0),
        report=report, probes=2, checkpoints=keep, splits=("test",),
    )  # fmt: skip


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_a_continued_cell_gives_the_same_bits(cell: tuple[str, str, str], tmp_path: Path) -> None:
    whole = asdict(train(cell))
    path = tmp_path / "state"
    stops = [1, 2] if whole["steps"] < 12 else [3, 4, 9]
    for stop in stops:
        with pytest.raises(Stopped):
            train(cell, path, stop)
    continued = asdict(train(cell, path))
    assert continued.pop("continued") == stops
    assert {k: v for k, v in continued.items() if k not in TIMES} == {
        k: v for k, v in whole.items() if k not in TIMES
    }
    assert continued["ids"] and continued["views"] and continued["scores"]["test"]


def test_a_state_of_other_data_weights_or_torch_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    with pytest.raises(Stopped):
        train(CELLS[0], path, 3)
    assert train(("blobs(steps=12, noise=1.0)", *CELLS[0][1:]), path).continued == []
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "9.9.9")
        assert train(CELLS[0], path).continued == []
    others = Checkpoints(path)
    others.versions = {"kornia": "9.9.9"}
    start = load(path)
    assert start is not None
    assert others.load(start["start"]) is None
    assert Checkpoints(path).load(start["start"]) is not None
    path.write_bytes(path.read_bytes()[:-1])
    assert train(CELLS[0], path).continued == []


def test_time_before_a_checkpoint_is_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with pytest.raises(Stopped):
        train(CELLS[0], path, 11)
    saved = load(path)
    assert saved is not None
    outcome = train(CELLS[0], path)
    before = saved["outcome"]["train_seconds"] + saved["outcome"]["evaluate_seconds"]
    assert outcome.earlier_seconds == before
    assert outcome.train_seconds > saved["outcome"]["train_seconds"] > 0


def test_saving_is_due_by_time_or_by_a_stop_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    keep = Checkpoints(tmp_path / "x", every=10)
    assert not keep.due()
    now[0] += 10
    assert keep.due()
    keep.save({"step": 1})
    assert not keep.due()
    keep.stop_requested = True
    with pytest.raises(Stopped):
        keep.save({"step": 2})
    never = Checkpoints(tmp_path / "y", every=0)
    now[0] += 1e9
    assert not never.due()
    assert not Checkpoints(None, every=1).due()


def test_a_state_that_cannot_be_saved_does_not_fail_the_cell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    Checkpoints(tmp_path / "file" / "x", every=1).save({"step": 1})
    assert "could not save a checkpoint: " in caplog.text
    Checkpoints(tmp_path / "y", every=1).save({"method": object()})
    assert "state must be made of tensors" in caplog.text
    caplog.clear()
    Checkpoints(tmp_path / "y", every=1).save({"graph": torch.eye(2).to_sparse()})
    assert "could not save a checkpoint: " in caplog.text
    stopping = Checkpoints(tmp_path / "y")
    stopping.stop_requested = True
    with pytest.raises(Stopped):
        stopping.save({"method": object()})


def test_a_state_that_does_not_fit_is_tried_once(tmp_path: Path) -> None:
    """A buffer that is made while training is in the state, and not in a fresh method."""
    task = plugins.build("tasks", "blobs(steps=5)")
    keep = Checkpoints(tmp_path / "state")

    def attempt(stop_at: int) -> Outcome:
        method = plugins.build("methods", "siamese")
        method.after_step = lambda step, steps: method.register_buffer("late", torch.ones(2))

        def report(step: int, steps: int, value: float) -> None:
            keep.stop_requested = step == stop_at

        loss = plugins.build("losses", "infonce")
        return fit(task, method, loss, Randomness("b", "", 0), report=report, checkpoints=keep)

    with pytest.raises(Stopped):
        attempt(2)
    with pytest.raises(RuntimeError, match=r"(?s)does not fit and was removed.*late"):
        attempt(0)
    assert attempt(0).continued == []


FORGED: list[tuple[str, Any]] = [
    *(("steps", value) for value in (0, -1, 6, 10**6, 2.0, "2", None, [2], True)),
    *(("curve", value) for value in (3, "x", [1], [(1, "x")], {"a": 1}, [(1, math.inf)])),
    *(("ids", value) for value in (3, {"1": "x"}, {1: 2}, [1], None)),
    *(("train_seconds", value) for value in ("1", None, math.inf, [])),
    *(("continued", value) for value in (3, ["x"], None, {1: 1})),
    *(("scores", value) for value in (1, {"test": 1}, {1: {}}, {"test": {"a": "b"}})),
    *(("chain", value) for value in (3, None, ["x"])),
    *(("start", value) for value in (3, None, {1: 2})),
]


@pytest.mark.parametrize(("name", "value"), FORGED)
def test_a_forged_state_is_tried_once(tmp_path: Path, name: str, value: Any) -> None:
    """Whoever writes a checkpoint can give it the right digest."""
    cell, path = ("blobs(steps=5)", "siamese", "infonce"), tmp_path / "state"
    with pytest.raises(Stopped):
        train(cell, path, 2)
    state = load(path)
    assert state is not None
    save(path, state | {"outcome": state["outcome"] | {name: value}})
    with pytest.raises(
        RuntimeError, match=rf"does not fit and was removed.*`{name}`|`{name}.*must"
    ):
        train(cell, path)
    assert train(cell, path).continued == []


@pytest.mark.parametrize("part", ["outcome", "method", "loss", "optimizer"])
@pytest.mark.parametrize("value", [None, "x", {}, {"a": torch.ones(2)}])
def test_a_state_with_a_forged_part_is_tried_once(tmp_path: Path, part: str, value: Any) -> None:
    cell, path = ("blobs(steps=5)", "siamese", "infonce_learned"), tmp_path / "state"
    with pytest.raises(Stopped):
        train(cell, path, 2)
    state = load(path)
    assert state is not None
    save(path, state | {part: value})
    with pytest.raises(RuntimeError, match="does not fit and was removed"):
        train(cell, path)
    assert train(cell, path).continued == []


def test_weights_that_are_not_finite_after_the_last_step_are_divergence() -> None:
    """The objective before that step was finite: only the weights can tell."""
    task = plugins.build("tasks", "blobs(steps=3)")
    method = plugins.build("methods", "siamese")
    steps: list[int] = []

    def poison(step: int, steps_in_all: int) -> None:
        steps.append(step)
        if step == 2:
            next(iter(method.parameters())).data.fill_(math.nan)

    method.after_step = poison
    with pytest.raises(Diverged, match=r"diverged at step 3 of 3: `.*` holds a number"):
        fit(task, method, plugins.build("losses", "infonce"), Randomness("b", "", 0))
    assert steps == [0, 1, 2]
