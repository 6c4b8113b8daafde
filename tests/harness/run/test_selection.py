"""Cells by key, by words and by filters: nothing matches by accident."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from synthetic import record

from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.run.selection import Filters, Names, choose, find, named
from harness.run.status import CellState, states
from harness.store.records import SCHEMA, Failure, Store, key_of

IMAGES, SMALL = "images", "images(data='mine', size=14)"
ADNCE, LOWER, OTHER = "adnce", "adnce(mu=0.5)", "adnce(temperature=0.1, mu=0.1)"
TUNED = "infonce[tuned]"
PATH = "images(data='/home/me/mine', size=14)"


FOLDER = Path("runs/q")


def final(task: str, loss: str, seed: int, method: str = "siamese", label: str = "") -> Any:
    cell = Cell(task, method, loss, seed)
    return {"label": label or loss, "trial": None, "cell": cell.to_dict()}


def trial(loss: str, number: int, seed: int) -> Any:
    cell = Cell(IMAGES, "siamese", loss, seed, "validation")
    return {"label": TUNED, "trial": number, "cell": cell.to_dict()}


PLACES = [
    *(final(task, loss, seed) for task in (IMAGES, PATH) for loss in (ADNCE, LOWER, OTHER)
      for seed in (0, 1, 2, 10)),
    *(final(IMAGES, ADNCE, seed, "moco_v3") for seed in (0, 1)),
    *(final(IMAGES, loss, seed) for loss in ("untrained", "fixed:oracle") for seed in (0, 1)),
    *(final(IMAGES, "infonce(temperature=0.1)", seed, label=TUNED) for seed in (0, 1)),
    *(final(IMAGES, "adnce_image_paper", seed) for seed in (0, 1)),
    *(final(IMAGES, "infonce(temperature=0.1000001)", seed, label="control") for seed in (0, 1)),
    *(trial(f"infonce(temperature={0.1 * (number + 1):.1f})", number, seed)
      for number in range(3) for seed in (10000, 10001)),
]  # fmt: skip
LABELS = {
    "adnce": "ADNCE", LOWER: "ADNCE, mu .5", "infonce": "InfoNCE", "ours": "Our loss (new)",
    TUNED: "InfoNCE, tuned", "images": "MNIST-5k",
}  # fmt: skip
ALIASES = {"ours": OTHER, "plain": ADNCE, "best": TUNED}


def key(place: Any) -> str:
    return sha256(str(place["cell"]).encode()).hexdigest()[:16]


def planned(folder: Path) -> Store:
    made = Store(folder)
    plan = [
        {"modality": "image", "task": SMALL if place["cell"]["task"] == PATH else IMAGES}
        | {"key": key(place)}
        | place
        for place in PLACES
    ]
    names = {"images": "Images", "moco_v3": "MoCo v3", "adnce_image_paper": "ADNCE (paper)"}
    about = {"labels": LABELS, "aliases": ALIASES, "names": names}
    about |= {"schema": SCHEMA, "baseline": None}
    made.write_study({**about, "plan": plan})
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return planned(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[CellState], Names]:
    """Read the run once: its cells and its names."""
    store = planned(tmp_path_factory.mktemp("run"))
    return states(store), Names.from_study(store.study())


def texts(cells: list[CellState]) -> set[str]:
    """Return the cells' labels without what most of them share."""
    return {str(state).replace("/home/me/", "").replace(" / siamese", "") for state in cells}


def each(task: str, loss: str, *seeds: int) -> set[str]:
    return {f"{task} / {loss} / seed {seed}" for seed in seeds}


@pytest.mark.parametrize(
    ("words", "cells"),
    [
        ("images adnce() siamese seed 1", each(IMAGES, ADNCE, 1)),
        ("images / siamese / adnce / seed 1", each(IMAGES, ADNCE, 1)),
        (f"{PATH} / siamese / {LOWER} / seed 10", each(SMALL, LOWER, 10)),
        (f"{SMALL} {LOWER} seed 10", each(SMALL, LOWER, 10)),
        ("images(size=14, data=mine) adnce(mu=.50) seed 10", each(SMALL, LOWER, 10)),
        # A number after `seed` is the whole seed.
        ("adnce(mu=0.5) images seed 1", each(IMAGES, LOWER, 1)),
        ("adnce(mu=0.5) images seed=1", each(IMAGES, LOWER, 1)),
        ("adnce(mu=0.5) images 1", each(IMAGES, LOWER, 1)),
        ("ADNCE(mu=0.5), images, seed1", each(IMAGES, LOWER, 1)),
        # A setting is a whole setting, and not one of a tuning trial.
        ("images seed 0 mu=0.5", each(IMAGES, LOWER, 0)),
        ("images seed 0 mu=0.1", each(IMAGES, OTHER, 0)),
        (
            "images seed 0 temperature=0.1",
            each(IMAGES, OTHER, 0) | each(IMAGES, "infonce(temperature=0.1)", 0),
        ),
        ("size=14 adnce() seed 0", each(SMALL, ADNCE, 0)),
        # A bare name is a whole name: not adnce_image_paper.
        ("adnce-image-paper", each(IMAGES, "adnce_image_paper", 0, 1)),
        ("untrained", each(IMAGES, "untrained", 0, 1)),
        ("fixed:oracle 1", each(IMAGES, "fixed:oracle", 1)),
        ("moco_v3 seed 1", {"images / moco_v3 / adnce / seed 1"}),
        ("infonce 0", each(IMAGES, "infonce(temperature=0.1)", 0)
         | each(IMAGES, "infonce(temperature=0.1000001)", 0)),
        # Rows of the board.
        ("infonce[tuned]", each(IMAGES, "infonce(temperature=0.1)", 0, 1)),
        ("control seed 1", each(IMAGES, "infonce(temperature=0.1000001)", 1)),
        # Labels and aliases stand for their specs.
        ("ours seed 2 images", each(IMAGES, OTHER, 2)),
        ("our loss (new) seed 2 images", each(IMAGES, OTHER, 2)),
        ("images ADNCE, mu .5 seed 2", each(IMAGES, LOWER, 2)),
        ("images plain siamese seed 2", each(IMAGES, ADNCE, 2)),
        ("best 0", each(IMAGES, "infonce(temperature=0.1)", 0)),
        ("InfoNCE, tuned 0", each(IMAGES, "infonce(temperature=0.1)", 0)),
        ("mnist-5k ours 2", each(IMAGES, OTHER, 2)),
        # So do the plugins' own.
        ("Images MoCo v3 seed 1", {"images / moco_v3 / adnce / seed 1"}),
        ("ADNCE (paper) 1", each(IMAGES, "adnce_image_paper", 1)),
        # Tuning trials, only if they are asked for.
        ("trial 2 10001", {"images / infonce(temperature=0.3) / seed 10001 (tuning trial 2)"}),
        (
            "tuning infonce seed 10001 temperature=0.1",
            {"images / infonce(temperature=0.1) / seed 10001 (tuning trial 0)"},
        ),
    ],
)  # fmt: skip
def test_words_name_cells(run: tuple[list[CellState], Names], words: str, cells: set[str]) -> None:
    every, names = run
    assert texts(named(every, words, names, FOLDER)) == cells


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("adnec seed 1", "no cell has 'adnec'. Did you mean 'adnce'"),
        ("0.1", "no cell has '0.1'"),
        ("mu=0", "no cell has 'mu=0'"),
        ("adnce(mu=0.50001)", "no cell has 'adnce(mu=0.50001)'. Did you mean 'adnce(mu=0.5)'"),
        ("adnc", "no cell has 'adnc'"),
        ("paper", "no cell has 'paper'"),
        ("image", "no cell has 'image'. Did you mean 'images'"),
        ("adnce seed 3", "no cell has all of 'adnce seed 3'"),
        ("adnce seed 10000", "no cell has all of"),
        ("untrained siamese", "no cell has all of"),
        ("infonce seed 10001", "names only cells of tuning trials: add the word 'tuning'"),
        ("tuning adnce", "leave out the word 'tuning'"),
        ("trial 3", "no cell has all of 'trial 3'"),
        ("adnce seed", "a whole number after 'seed'"),
        ("adnce seed two", "a whole number after 'seed'"),
        ("seed 1 seed 2", "no cell has all of"),
        ("deadbeef", "no cell has 'deadbeef'"),
        ("adnce(mu=", "no cell has '(mu='"),
        ("=", "no cell has '='"),
        (")", "no cell has ')'"),
    ],
)
def test_words_that_name_no_cell_say_why(
    run: tuple[list[CellState], Names], words: str, message: str
) -> None:
    every, names = run
    with pytest.raises(InputError) as error:
        named(every, words, names, FOLDER)
    assert message in str(error.value)
    assert "`CELL` must" in str(error.value)


def test_a_key_or_its_start_names_any_cell(
    run: tuple[list[CellState], Names], store: Store
) -> None:
    cells, names = run
    for state in cells:
        assert named(cells, state.key, names, FOLDER) == [state]
    last = cells[-1]
    assert last.cell.scored == "validation"
    assert find(store, f" {last.key[:9]} ") == [last]
    with pytest.raises(InputError):
        find(store, last.key[:3])


def test_no_words_name_all_cells(store: Store) -> None:
    assert find(store) == states(store)


@pytest.mark.parametrize(
    ("filters", "number"),
    [
        ({"losses": ("adnce",)}, 26),
        ({"losses": ("adnce()",)}, 10),
        ({"losses": ("plain",)}, 10),
        ({"losses": ("ours",), "seeds": (1, 10)}, 4),
        ({"losses": (LOWER, "untrained")}, 10),
        ({"losses": (TUNED,)}, 8),
        ({"losses": ("infonce",)}, 10),
        ({"tasks": (SMALL,)}, 12),
        ({"tasks": ("MNIST-5k",), "methods": ("moco-v3",)}, 2),
        ({"methods": ("moco_v3",), "seeds": (0,)}, 1),
        ({"seeds": (10001,)}, 3),
        ({"states": ("failed",)}, 1),
    ],
)
def test_filters_choose_cells(
    run: tuple[list[CellState], Names], filters: dict[str, Any], number: int
) -> None:
    (first, *others), names = run
    cells = [replace(first, state="failed"), *others]
    assert len(choose(cells, Filters(**filters), names, FOLDER)) == number


def test_words_choose_among_the_filtered_cells(store: Store) -> None:
    first = states(store)[0]
    store.write_failure(first.cell, Failure(first.key, "failed", "no luck"))
    found = find(store, "adnce seed 1", Filters(tasks=(SMALL,)))
    assert texts(found) == each(SMALL, ADNCE, 1)
    assert [state.cell for state in find(store, "adnce", Filters(states=("failed",)))] == [
        first.cell
    ]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"losses": ("adnec",)}, r"`--loss` must name .*'adnec'. Did you mean 'adnce'"),
        ({"losses": ("images",)}, r"`--loss` must name .*'images'"),
        ({"tasks": ("adnce",)}, r"`--task` must name .*'adnce'"),
        ({"seeds": (3,)}, r"`--seed` must name .*no cell has 3"),
    ],
)
def test_a_filter_that_no_cell_has_is_an_error(
    run: tuple[list[CellState], Names], filters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        choose(run[0], Filters(**filters), run[1], FOLDER)


def test_filters_may_choose_no_cell(store: Store) -> None:
    for filters in (Filters(states=("diverged",)), Filters(methods=("moco_v3",), seeds=(2,))):
        assert choose(states(store), filters, Names(), FOLDER) == []
        with pytest.raises(InputError, match=r"No cell of .* passes all filters"):
            find(store, "", filters)


def test_a_record_of_an_earlier_plan_is_found(store: Store) -> None:
    old = Cell(IMAGES, "siamese", "margin", 99)
    identity = {"cell": old.to_dict(), "source": "src"}
    made = record(key_of(identity), cell=old.to_dict(), identity=identity)
    store.write_record(old, made)
    (found,) = find(store, "margin")
    assert found.cell == old
    assert (found.state, found.metric, found.score) == ("done", "accuracy", 61.5)


def test_a_folder_of_records_without_a_plan_has_cells(tmp_path: Path) -> None:
    """`triptych cell` leaves such a folder."""
    store = Store(tmp_path)
    cells = [Cell("blobs", "siamese", "adnce", seed) for seed in range(2)]
    for cell in cells:
        identity = {"cell": cell.to_dict(), "source": "src"}
        store.write_record(cell, record(key_of(identity), cell=cell.to_dict(), identity=identity))
    assert [state.cell for state in find(store)] == cells
    assert find(store, "adnce seed 1")[0].cell == cells[1]
    assert {state.state for state in states(store)} == {"done"}


def test_an_older_plan_has_no_labels(store: Store) -> None:
    study = store.study()
    assert Names.from_study({}) == Names()
    del study["labels"], study["aliases"]
    store.write_study(study)
    with pytest.raises(InputError, match="no cell has 'ours'"):
        find(store, "ours")


def test_the_text_of_a_state_names_its_trial() -> None:
    cell = Cell("nodes", "siamese", "adnce", 10000, "validation")
    assert str(CellState(cell, "", "done", trial=3)) == f"{cell} (tuning trial 3)"
    assert str(CellState(replace(cell, scored="test"), "", "done")) == str(cell)
