"""Find the maps that minimise InfoNCE's population loss, by trying every map of a class.

Each cluster has a few style points; an image is a cluster and a style. A map into
{-1, 1}^2 is a pair of functions of one class. ``python -m tasks.known.cluster_enumeration`` prints
the tables of docs/theory-clusters.md. The setting is Parulekar et al.'s, COLT 2023,
arXiv 2302.07920.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from harness.core.errors import require, require_choice, require_number
from tasks.known.cluster_loss import population_loss, task_accuracies, uniform_loss, vertex_shares

PAIRS = ("interleaved", "local")
TIE = 1e-9
"""Losses that differ by no more than this count as equal."""


def style_pairs(pairs: str, styles: int) -> list[tuple[int, int]]:
    """Return (style of a natural image, style of its augmentation) for every natural style.

    Half of the style points are natural. ``interleaved`` moves a style by half the number
    of points, ``local`` to the next point.

    >>> style_pairs("interleaved", 4), style_pairs("local", 4)
    ([(0, 2), (1, 3)], [(0, 1), (2, 3)])

    Raises:
        InputError: if ``pairs`` is unknown or ``styles`` is odd.
    """
    require_choice("pairs", pairs, PAIRS)
    require_number("styles", styles, at_least=2, whole=True)
    require(
        styles % 2 == 0,
        f"`styles` must be even, because style points form pairs: got {styles}. Add or remove one.",
    )
    half = styles // 2
    if pairs == "interleaved":
        return [(s, s + half) for s in range(half)]
    return [(2 * s, 2 * s + 1) for s in range(half)]


def halfspaces(clusters: int, styles: int) -> Bool[NDArray[np.bool_], "f c s"]:
    """Return every halfspace of (one-hot cluster, style): a threshold for each cluster.

    The direction in which a function rises along the style is the same in all clusters.

    >>> len(halfspaces(4, 4))
    1234
    """
    rising = np.arange(styles) >= np.arange(styles + 1)[:, None]
    functions = [
        part[list(rows)] for part in (rising, ~rising)
        for rows in product(range(styles + 1), repeat=clusters)
    ]  # fmt: skip
    return np.unique(np.array(functions), axis=0)  # Constant functions both rise and fall.


def clean_tables(clusters: int, styles: int, pairs: str) -> Bool[NDArray[np.bool_], "f c s"]:
    """Return every function that is constant on each pair, and otherwise arbitrary.

    No other lookup table needs to be tried, because it breaks a pair. Moving the pair's
    augmented image to where its natural image x is lowers the loss of x and changes no
    other loss: negatives are natural images.
    """
    natural, augmented = np.array(style_pairs(pairs, styles)).T
    values = np.array(list(product((False, True), repeat=clusters * len(natural))))
    tables = np.zeros((len(values), clusters, styles), dtype=bool)
    tables[:, :, natural] = values.reshape(len(values), clusters, -1)
    tables[:, :, augmented] = tables[:, :, natural]
    return tables


@dataclass(frozen=True)
class Minimisers:
    """The maps of least loss in a class.

    Attributes:
        loss: their population loss, in nats.
        count: how many there are, all sign flips counted.
        preserving: share of them that are constant on each cluster.
        gap: loss of the best map that does not preserve, minus the least loss; 0 if a
            minimiser does not preserve, infinite if all maps of the class preserve.
        errors: for each minimiser, up to sign flips, the error of the best head on the
            balanced labelling of the clusters that is worst for it.
        split: for each, the number of clusters on which it is not constant.
        masses: for each, the share of natural images at each vertex.
    """

    loss: float
    count: int
    preserving: float
    gap: float
    errors: Float[NDArray[np.float64], " k"]
    split: Int[NDArray[np.int64], " k"]
    masses: Float[NDArray[np.float64], "k v"]


class Maps:
    """Every pair of functions of a class, as a map into the square {-1, 1}^2.

    Convention: natural images are the first halves of the style pairs, in shares given by
    ``masses``; x is one of them and x+ the second half of its pair. The negatives are
    natural images too. Halfspaces' gaps at beta 1 are then .084/.176/.229/.245 for
    l = 1/4/16/64; with x and the negatives uniform over all points instead, minimisers are
    the same and the gaps .088/.185/.242/.258. A map preserves a cluster if it is constant
    on all its points, augmented ones included.

    A map's loss depends only on the joint masses of (g(x), g(x+)). Many maps share these,
    so the loss is computed once for each set of masses. Replacing a function by its
    complement flips a sign, which changes no loss. So only functions whose first value is
    False are tried, and each map found counts for four.

    Args:
        functions: the class, closed under complement: one value per cluster and style.
        pairs: ``interleaved`` or ``local``.
        masses: integers proportional to the clusters' shares; None: equal shares.
    """

    def __init__(
        self,
        functions: Bool[NDArray[np.bool_], "f c s"],
        pairs: str,
        masses: tuple[int, ...] | None = None,
    ) -> None:
        self.functions = functions[~functions[:, 0, 0]]
        clusters, styles = functions.shape[1:]
        self.masses = np.array(masses or (1,) * clusters, dtype=np.uint64)
        self._natural, self._augmented = np.array(style_pairs(pairs, styles)).T
        self._constant = (self.functions == self.functions[:, :, :1]).all(axis=2)
        whole = self._constant.all(axis=1)
        self._preserving = whole[:, None] & whole
        # Hash joint masses: maps of equal masses have equal sums of these random numbers. Maps
        # of different masses collide with a chance of about 1e-9, as there are some hundred
        # thousand sums of 64 bits.
        codes = np.random.default_rng(0).integers(2**63, size=16, dtype=np.uint64)
        keys = np.zeros((len(self.functions),) * 2, dtype=np.uint64)
        for cluster, mass in enumerate(self.masses):
            rows, which = np.unique(self.functions[:, cluster], axis=0, return_inverse=True)
            table = mass * codes[self._types(rows[:, None], rows)].sum(axis=-1, dtype=np.uint64)
            keys += table[which[:, None], which]
        _, first, self._inverse = np.unique(keys, return_index=True, return_inverse=True)
        self._joints = self._joint_masses(*np.divmod(first, len(self.functions)))

    def _types(
        self, first: NDArray[np.bool_], second: NDArray[np.bool_]
    ) -> Int[NDArray[np.int64], "... p"]:
        """Return 4 g(x) + g(x+) for each pair, from the functions' values at the styles."""
        numbers = first + 2 * second
        types: NDArray[np.int64] = 4 * numbers[..., self._natural] + numbers[..., self._augmented]
        return types

    def _joint_masses(
        self, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> Float[NDArray[np.float64], "u 4 4"]:
        joints = np.zeros((len(first), 16))
        types = self._types(self.functions[first], self.functions[second])
        for cluster, mass in enumerate(self.masses):
            for column in types[:, cluster].T:
                joints[np.arange(len(first)), column] += mass
        shares: NDArray[np.float64] = joints.reshape(-1, 4, 4) / joints[:1].sum()
        return shares

    def minimisers(self, *, beta: float, negatives: int) -> Minimisers:
        """Return the maps of least population loss."""
        unique = population_loss(self._joints, beta=beta, negatives=negatives)
        losses = unique[self._inverse].reshape(self._preserving.shape)
        least = losses.min()
        first, second = np.nonzero(losses <= least + TIE)
        gap = float(losses[~self._preserving].min(initial=np.inf) - least)
        joints = self._joint_masses(first, second)
        return Minimisers(
            loss=float(least),
            count=4 * len(first),
            preserving=float(self._preserving[first, second].mean()),
            gap=gap if gap > TIE else 0.0,
            errors=np.array([*map(self._worst_error, first, second)]),
            split=(~(self._constant[first] & self._constant[second])).sum(axis=1),
            masses=joints.sum(axis=2),
        )

    def _worst_error(self, first: np.int64, second: np.int64) -> float:
        numbers = self.functions[first] + 2 * self.functions[second]
        clusters, styles = numbers.shape
        shares = vertex_shares(numbers.ravel(), np.repeat(np.arange(clusters), styles), 2)
        return 1 - float(task_accuracies(shares, shares).min())


# The tables


def main() -> None:
    """Print the exact tables; this takes a few seconds."""
    print("Loss of a uniform map without a broken pair, beta 1, 32 negatives")
    for dimension in (2, 3, 4):
        print(f"  d = {dimension}: {uniform_loss(dimension, beta=1.0, negatives=32):.4f}")
    four = {
        (kind, pairs): Maps(functions, pairs)
        for pairs in PAIRS
        for kind, functions in (
            ("halfspaces", halfspaces(4, 4)),
            ("lookup", clean_tables(4, 4, pairs)),
        )
    }
    print("\n4 clusters x 4 style points, d = 2, beta 1, 16 negatives")
    print("  class       pairs        functions  minimisers  preserving  worst task's error .5")
    for (kind, pairs), maps in four.items():
        least = maps.minimisers(beta=1.0, negatives=16)
        chance = np.isclose(least.errors, 0.5).mean()
        print(
            f"  {kind:<11} {pairs:<12} {2 * len(maps.functions):>9}  {least.count:>10}"
            f"  {100 * least.preserving:>9.2f}%  {100 * chance:>20.1f}%"
        )
    print("\nHalfspaces, interleaved: minimisers, and the gap to the best map that splits")
    numbers = (1, 4, 16, 64)
    print("  beta  " + "".join(f"l = {number:<13}" for number in numbers))
    for beta in (0.25, 0.5, 1.0, 2.0):
        minimisers = [
            four["halfspaces", "interleaved"].minimisers(beta=beta, negatives=number)
            for number in numbers
        ]
        print(f"  {beta:<6}" + "".join(f"{m.count:<4} {m.gap:<12.3f}" for m in minimisers))
    print("\nHalfspaces, interleaved, other numbers of clusters, beta 1, 16 negatives")
    print("  clusters  maps        minimisers  preserving  at vertices          gap")
    for clusters in (3, 4, 5):
        maps = Maps(halfspaces(clusters, 4), "interleaved")
        least = maps.minimisers(beta=1.0, negatives=16)
        print(
            f"  {clusters:<9} {4 * len(maps.functions) ** 2:<11} {least.count:<11}"
            f" {100 * least.preserving:>9.2f}%  {_shares(least)}  {least.gap:.3f}"
        )
    print("\nThe first cluster heavier than each other one, interleaved")
    print("                            halfspaces                              lookup")
    print("  masses         beta  l    split  at vertices          error   split  error")
    for heavy in (1, 2, 4, 8, 16):
        masses = (heavy, 1, 1, 1)
        kinds = [
            Maps(functions, "interleaved", masses)
            for functions in (halfspaces(4, 4), clean_tables(4, 4, "interleaved"))
        ]
        for beta, number in ((0.25, 1), (0.25, 64), (1.0, 1), (1.0, 64)):
            exact, table = (maps.minimisers(beta=beta, negatives=number) for maps in kinds)
            print(
                f"  {masses!s:<14} {beta:<5} {number:<4} {exact.split.max():<6} {_shares(exact)}"
                f"  {exact.errors.max():.2f}     {table.split.min()}-{table.split.max()}"
                f"    {table.errors.max():.2f}"
            )


def _shares(least: Minimisers) -> str:
    """Format the vertices' masses, heaviest first; all minimisers of a table share them."""
    return " ".join(f"{share:.2f}" for share in np.sort(least.masses[0])[::-1])


if __name__ == "__main__":
    main()
