"""Name the sets a sentence encoder is scored on, and score it on pairs with human scores."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize, pdist

from adapters.data import own_sets
from adapters.data.own_sets import is_own
from adapters.data.sentence_data import SUBSETS, Pairs
from adapters.data.senteval import SOURCES as TRANSFER
from harness.core.errors import InputError, unknown
from harness.data import label_of
from harness.metrics import Metric

BENCHMARK = "sts-b"
RELATED = "sick-r"
GEOMETRY = "geometry"
SEVEN = (*SUBSETS, BENCHMARK, RELATED)
GROUPS = {"sts": SEVEN, "transfer": tuple(TRANSFER), "all": (*SEVEN, *TRANSFER)}
NAMES = (*SEVEN, *TRANSFER, GEOMETRY)
_STARTS = {BENCHMARK: "sts", RELATED: "sick_r"}
"""{set: what its metrics' names begin with}, of those that are not called by the set's own name."""
CLOSE = 4.0
"""Score, out of 5, from which on the sentences of a pair count as having the same meaning."""

UNIFORMITY_SCALE = 2.0
"""The factor t of squared distances in the uniformity."""

Cosine = Callable[[Pairs], NDArray[np.float64]]


def sets_of(names: str) -> tuple[str, ...]:
    """Return the sets that a setting such as ``sts-b+sts12`` names, in a fixed order.

    The path of a file or folder of one's own is the name of a set too.

    Raises:
        InputError: if a name is unknown.

    >>> sets_of("sick-r+sts-b")
    ('sts-b', 'sick-r')
    """
    chosen: set[str] = set()
    for name in filter(None, map(str.strip, names.split("+"))):
        if name not in {*NAMES, *GROUPS} and not is_own(name):
            error = unknown("set to evaluate on", name, (*NAMES, *GROUPS))
            raise InputError(f"{error} Your own is named by its path, such as './pairs.csv'.")
        chosen |= set(GROUPS.get(name, (name,)))
    if GEOMETRY in chosen:  # It is computed on STS-B's pairs.
        chosen.add(BENCHMARK)
    # Sets with a validation part come first, because a task's first metric is its main one.
    own = sorted(name for name in chosen if is_own(name))
    order = (BENCHMARK, *TRANSFER, *own, GEOMETRY, *SUBSETS, RELATED)
    return tuple(name for name in order if name in chosen)


def evaluation_sets(evaluation: str, root: str = "") -> tuple[str, ...]:
    """Return the sets that ``evaluation`` names: see :func:`sets_of`.

    Raises:
        InputError: if a name is unknown, two files have one name, or no set has a validation part.
    """
    chosen = sets_of(evaluation)
    metric_starts(chosen)
    validated = any(own_sets.read(n, root).has_validation for n in chosen if is_own(n))
    if not validated and not set(chosen) & {BENCHMARK, *TRANSFER}:
        raise InputError(
            f"`evaluation` must name a set with a validation part, {BENCHMARK}, one of "
            f"{', '.join(TRANSFER)}, or your own with a part 'dev': got "
            f"{evaluation!r}. Write {evaluation + '+' + BENCHMARK!r}."
        )
    return chosen


def metric_starts(sets: Iterable[str]) -> Mapping[str, str]:
    """Return {set: what the names of its metrics begin with}, of the known sets and of one's own.

    A set of one's own is called by its file's name; if another set has that name, folders above
    the file are added until the names differ.

    Raises:
        InputError: if two sets of one's own have the same name in the same folder.

    >>> starts = metric_starts(["./My pairs.csv", "a/sts12.csv", "a/x.csv", "b/x.csv"])
    >>> [starts[n] for n in ("sst-2", "./My pairs.csv", "a/sts12.csv", "a/x.csv", "b/x.csv")]
    ['sst2', 'my_pairs', 'a_sts12', 'a_x', 'b_x']
    """
    starts = {name: _STARTS.get(name, name.replace("-", "")) for name in NAMES}
    ends = {name: _ends(name) for name in sets if is_own(name)}
    for name, own in ends.items():
        taken = {*starts.values()}.union(*(ends[other] for other in ends if other != name))
        free = next((end for end in own if end not in taken), None)
        if free is None:
            alike = [other for other in ends if other != name and set(own) & set(ends[other])]
            raise InputError(
                f"`evaluation` must name files of different names: got {name!r} and "
                f"{', '.join(map(repr, alike))}. Rename one of them."
            )
        starts[name] = free
    return starts


def _ends(name: str) -> list[str]:
    """Return the names that a set of one's own may have: its file's, and with folders above it."""
    place = Path(os.path.abspath(name))  # noqa: PTH100  `resolve` would follow a link.
    parts = [*place.parts[1:-1], label_of(place).partition(".")[0]]
    ends = ("_".join(parts[-depth:]).lower() for depth in range(1, len(parts) + 1))
    return [re.sub(r"[^a-z0-9]+", "_", end).strip("_") or "own" for end in ends]


def metrics_of(sets: Sequence[str], starts: Mapping[str, str]) -> list[Metric]:
    """Return the metrics of scored pairs, the benchmark's first.

    Correlations are shown in points (times 100), as papers do.

    Args:
        sets: the sets of scored pairs.
        starts: what their metrics' names begin with: see :func:`metric_starts`.
    """
    alone = {
        BENCHMARK: Metric(
            f"{starts[BENCHMARK]}_spearman",
            f"Spearman's correlation on {BENCHMARK}'s pairs.",
            margin=0.5,
            low=-1.0,
            label="STS Spearman",
        ),
        RELATED: Metric(
            f"{starts[RELATED]}_spearman",
            f"Spearman's correlation on {RELATED}'s pairs.",
            margin=0.5,
            low=-1.0,
            label="SICK-R Spearman",
        ),
    }
    metrics = [metric for name, metric in alone.items() if name in sets]
    for name in filter(is_own, sets):
        text = f"Spearman's correlation on the pairs of {label_of(Path(name))}"
        metrics.append(_correlation(f"{starts[name]}_spearman", text))
    for name in SUBSETS:
        if name in sets:
            metrics += [
                _correlation(f"{name}_all", f"Spearman's correlation on all pairs of {name}"),
                _correlation(f"{name}_mean", f"the mean over the sub-sets of {name}"),
                _correlation(
                    f"{name}_wmean", f"the pair-weighted mean over the sub-sets of {name}"
                ),
            ]
    if GEOMETRY in sets:
        metrics += [
            Metric(
                "minus_alignment",
                "Minus the alignment.",
                low=-4.0,
                high=0.0,
            ),
            Metric(
                "minus_uniformity",
                "Minus the uniformity.",
                low=0.0,
                high=2 * 4.0,
            ),
        ]
    if {*SEVEN} <= {*sets}:
        metrics.append(
            Metric(
                "sts_avg7_all",
                "The mean over the seven STS sets.",
                margin=0.5,
                low=-1.0,
                label="STS average",
            )
        )
    return metrics


def _correlation(name: str, text: str) -> Metric:
    return Metric(name, f"{text[0].upper()}{text[1:]}.", margin=0.5, low=-1.0)


def year_scores(name: str, subsets: Mapping[str, Pairs], cosine: Cosine) -> dict[str, float]:
    """Return three Spearman correlations of a SemEval year, which papers confuse.

    ``sts12_all`` is that of all sub-sets' pairs together (SimCSE's, and most papers' since);
    ``sts12_mean`` is the unweighted mean of the sub-sets' correlations; ``sts12_wmean`` is
    their mean weighted by the number of pairs.

    References:
        Gao et al. 2021, arXiv 2104.08821.
    """
    cosines = {subset: cosine(pairs) for subset, pairs in subsets.items()}
    own = [spearman(cosines[subset], pairs.scores) for subset, pairs in subsets.items()]
    sizes = [len(pairs.scores) for pairs in subsets.values()]
    together = np.concatenate([pairs.scores for pairs in subsets.values()])
    return {
        f"{name}_all": spearman(np.concatenate(list(cosines.values())), together),
        f"{name}_mean": float(np.mean(own)),
        f"{name}_wmean": float(np.average(own, weights=sizes)),
    }


def spearman(cosines: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    """Return Spearman's correlation; 0 if all cosines are equal, which gives no ranking."""
    if len(cosines) and np.ptp(cosines) == 0:
        return 0.0
    # Imported here because the import takes seconds, which planning a run can do without.
    from adapters.metrics.hf_evaluate import computed

    return computed(["spearman"], cosines, scores)["spearman"]


def average_of_seven(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of STS12 to STS16 ('all'), STS-B and SICK-R, or {} unless all are given."""
    names = [f"{year}_all" for year in SUBSETS] + [
        f"{start}_spearman" for start in _STARTS.values()
    ]
    if not scores.keys() >= set(names):
        return {}
    return {"sts_avg7_all": float(np.mean([scores[name] for name in names]))}


def geometry(
    first: Float[Tensor, "n d"],
    second: Float[Tensor, "n d"],
    scores: NDArray[np.float64],
    sentences: Float[Tensor, "m d"],
) -> dict[str, float]:
    r"""Return alignment and uniformity with their signs turned, so that higher is better.

    .. math::
        -\mathbb E_{(x, y)} \|f(x) - f(y)\|^2, \qquad
        -\log \mathbb E_{x \ne y} e^{-2 \|f(x) - f(y)\|^2}

    Representations are scaled to length 1. Alignment is over the pairs with a score of 4
    or more, uniformity over all pairs of two different sentences.

    References:
        Wang and Isola 2020, arXiv 2005.10242; Gao et al. 2021, arXiv 2104.08821.
    """
    close = torch.from_numpy(scores >= CLOSE)
    if not close.any():
        raise InputError(
            f"`scores` must hold a score of {CLOSE:g} or more, which alignment needs: got none. "
            "Leave out `geometry`."
        )
    apart = normalize(first[close].double()) - normalize(second[close].double())
    distances = pdist(normalize(sentences.double())).square()
    uniformity = torch.logsumexp(-UNIFORMITY_SCALE * distances, dim=0) - np.log(len(distances))
    return {
        "minus_alignment": -float(apart.square().sum(dim=1).mean()),
        "minus_uniformity": -float(uniformity),
    }
