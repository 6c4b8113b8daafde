"""Compare our losses' values and gradients with other libraries', on the same input.

This prints the table of ``docs/parity.md``. Peers that are not installed are named in it; see
``peers.py`` for what to install. ``--check`` fails if a peer is not installed, or if a row
without a note does not agree.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import peers
import torch
from torch import Tensor
from torch.nn.functional import normalize

from harness import plugins
from harness.contrast import PAIRINGS
from harness.methods.swav import sinkhorn

ROWS, WIDTH = 64, 16
SAME = 1e-6

Function = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Check:
    """One line of the table.

    Attributes:
        spec: our loss, with ``{tau}`` in the place of the temperature.
        pairing: how the two views are paired.
        peer: the peer's name, and its name for the loss.
        function: the peer's value at a temperature.
        note: how the two differ; empty if they agree.
        ours: converts our value to the peer's, if that is scaled or shifted.
        our_function: our value, if it takes more than a loss and a pairing.
    """

    spec: str
    pairing: str
    peer: str
    function: Function
    note: str = ""
    ours: Callable[[Tensor, float], Tensor] = lambda value, tau: value
    our_function: Function | None = None


def value_of(row: Check, a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return our loss's mean over the contrasts of its pairing."""
    if row.our_function is not None:
        return row.our_function(a, b, tau)
    loss = plugins.build("losses", row.spec.format(tau=tau)).to(a.dtype)
    contrasts = PAIRINGS[row.pairing](a, b, None)
    return row.ours(torch.stack([loss(c) for c in contrasts]).mean(), tau)


def prototype_loss(a: Tensor, b: Tensor, tau: float, targets: tuple[Tensor, Tensor]) -> Tensor:
    """Return our prototype loss with given targets for a and for b, over both directions."""
    prototypes = PROTOTYPES.to(a)
    loss = plugins.build("losses", f"prototypes(temperature={tau})")
    (one,) = PAIRINGS["cross_view"](a, b, None)
    ids = torch.full((len(prototypes),), -1)
    first = replace(one, candidates=prototypes, candidate_ids=ids, targets=targets[0])
    second = replace(first, anchors=b, positives=a, targets=targets[1])
    return (loss(first) + loss(second)) / 2


def scores(rows: Tensor) -> Tensor:
    """Return the cosines with fixed prototypes."""
    return normalize(rows, dim=1) @ PROTOTYPES.to(rows).T


def our_swav(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return SwAV's objective: each view predicts the other's Sinkhorn code."""
    codes = [sinkhorn(scores(rows).detach(), 0.05, 3) for rows in (b, a)]
    return prototype_loss(a, b, tau, (codes[0], codes[1]))


def our_dino(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return DINO's objective at its first step, with the centre at 0."""
    targets = [(scores(rows).detach() / 0.04).softmax(dim=1) for rows in (b, a)]
    return prototype_loss(a, b, tau, (targets[0], targets[1]))


def lightly_swav(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return lightly's SwaVLoss on the same prototypes."""
    value: Tensor = peers.lightly().SwaVLoss(temperature=tau)([scores(a), scores(b)], [])
    return value.squeeze()


def lightly_dino(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return lightly's DINOLoss, with the teacher's scores held constant."""
    teacher = [scores(a).detach(), scores(b).detach()]
    loss = (
        peers.lightly()
        .DINOLoss(output_dim=len(PROTOTYPES), teacher_temp=0.04, student_temp=tau)
        .to(a.dtype)
    )
    value: Tensor = loss(teacher, [scores(a), scores(b)], teacher_temp=0.04)
    return value


PROTOTYPES = normalize(torch.randn(10, WIDTH, generator=torch.Generator().manual_seed(7)), dim=1)
PYGCL = (
    "it sums a vector along a second dimension; by its code it would return the log and not "
    "minus the log, and count negatives over the whole batch"
)
ONES = "the self-similarity e^(1/tau) is counted as a negative"

NTXENT = [
    Check("simclr(temperature={tau})", "both_views", name, function)
    for name, function in peers.NTXENT.items()
]
ROWS_OF_TABLE = [
    *NTXENT,
    Check("grace(temperature={tau})", "both_views", "PyGCL InfoNCE, intra-view negatives",
        peers.pygcl_infonce, f"{ONES}: its sampler's mask is overwritten"),
    Check("grace(temperature={tau})", "both_views", "PyGCL InfoNCE, given a mask of ones",
        peers.pygcl_infonce_masked),
    Check("mnrl(temperature={tau})", "cross_view", "sentence-transformers MNRL",
        peers.sentence_transformers_mnrl),
    Check("simcse(temperature={tau})", "cross_view", "info-nce-pytorch InfoNCE", peers.info_nce),
    Check("clip(temperature={tau})", "cross_view_symmetric", "OpenCLIP ClipLoss",
        peers.open_clip_clip),
    Check("siglip", "cross_view", "OpenCLIP SigLipLoss",
        lambda a, b, tau: peers.open_clip_siglip(a, b, 10.0, -10.0)),
    Check("llave(temperature={tau})", "cross_view", "sentence-transformers MNRL, hardness 9",
        lambda a, b, tau: peers.sentence_transformers_hardness(a, b, tau, 9.0)),
    Check("dcl(temperature={tau})", "both_views", "lightly DCLLoss",
        lambda a, b, tau: peers.lightly().DCLLoss(temperature=tau)(a, b)),
    Check("dclw(temperature={tau})", "both_views", "lightly DCLWLoss",
        lambda a, b, tau: peers.lightly().DCLWLoss(temperature=tau)(a, b)),
    Check("adnce_image_paper(temperature={tau})", "both_views", "the reference repository's way",
        lambda a, b, tau: peers.adnce_reference_way(a, b, tau, 0.7, 0.5)),
    Check("adnce_sentence_paper(temperature={tau})", "cross_view", "the reference repository's way",
        lambda a, b, tau: peers.adnce_sentence_way(a, b, tau, 0.4, 1.0)),
    Check("adnce_graph_paper(temperature={tau})", "cross_view", "the reference repository's way",
        lambda a, b, tau: peers.adnce_graph_way(a, b, tau, 0.2, 1.0)),
    Check("debiased_paper(temperature={tau})", "both_views", "PyGCL DebiasedInfoNCE",
        peers.pygcl_debiased, f"{PYGCL}"),
    Check("hcl_paper(temperature={tau})", "both_views", "PyGCL HardnessInfoNCE",
        peers.pygcl_hardness, f"{PYGCL}"),
    Check("vicreg", "cross_view", "lightly VICRegLoss",
        lambda a, b, tau: peers.lightly().VICRegLoss()(a, b)),
    Check("barlow_twins(redundancy=0.005)", "cross_view", "lightly BarlowTwinsLoss",
        lambda a, b, tau: peers.lightly().BarlowTwinsLoss()(a, b)),
    Check("barlow_twins(redundancy=0.005)", "cross_view", "PyGCL BarlowTwins",
        lambda a, b, tau: peers.pygcl().BarlowTwins(lambda_=0.005)(a, b),
        "it divides the variance by B - 1, so that C_kk stays below 1"),
    Check("vicreg", "cross_view", "PyGCL VICReg", lambda a, b, tau: peers.pygcl().VICReg()(a, b),
        "it adds the two variance terms where the authors' code averages them"),
    Check("align_uniform(t=1)", "same_view_symmetric", "lightly HypersphereLoss",
        lambda a, b, tau: peers.lightly().HypersphereLoss(t=1.0, lam=1.0, alpha=2.0)(a, b)),
    Check("regression", "cross_view", "lightly NegativeCosineSimilarity",
        lambda a, b, tau: peers.lightly().NegativeCosineSimilarity()(a, b), "",
        lambda value, tau: value / 2 - 1),
    Check("sogclr(temperature={tau})", "both_views", "LibAUC GCLoss_v1, gradient of a first step",
        lambda a, b, tau: peers.sogclr(a, b, tau, 0.9),
        "it adds the two views and leaves tau out: our gradient is half of its; its value is "
        "not the objective"),
    Check("prototypes", "swav", "lightly SwaVLoss", lightly_swav,
        our_function=our_swav),
    Check("prototypes", "dino", "lightly DINOLoss", lightly_dino,
        our_function=our_dino),
]  # fmt: skip


def compare(row: Check, tau: float, dtype: torch.dtype) -> tuple[float, float, float]:
    """Return our value, the peer's, and their gradients' largest difference, relative to ours."""
    ours, our_grad = evaluate(lambda a, b, t: value_of(row, a, b, t), tau, dtype)
    peer, grad = evaluate(row.function, tau, dtype)
    return ours, peer, ((grad - our_grad).abs().max() / our_grad.abs().max()).item()


def evaluate(function: Function, tau: float, dtype: torch.dtype) -> tuple[float, Tensor]:
    """Return a function's value and its gradient with respect to both views."""
    a, b = (t.to(dtype).requires_grad_() for t in inputs())
    value = function(a, b, tau)
    value.backward()
    grads = [torch.zeros_like(t) if t.grad is None else t.grad for t in (a, b)]
    return value.item(), torch.cat(grads)


def inputs() -> tuple[Tensor, Tensor]:
    """Return two similar views, in float64."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, ROWS, WIDTH, generator=generator, dtype=torch.float64)
    return a, a + b


def main() -> None:
    """Print the table; with ``--check`` fail if a row does not agree that should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a row does not agree")
    check = parser.parse_args().check
    print("| ours | pairing | peer | ours, tau .1 | peer's | gradient, relative | "
          "peer in float32 at tau .01 | |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    wrong = []
    for row in ROWS_OF_TABLE:
        begin = f"| `{row.spec.replace('{tau}', 'tau')}` | {row.pairing} | {row.peer} | "
        try:
            ours, peer, slope = compare(row, 0.1, torch.float64)
        except ImportError as error:
            wrong.append(f"{row.peer} is not installed")
            print(begin + f"not installed: {error} |||||")
            continue
        except Exception as error:  # The peer may raise anything.
            if not row.note:
                wrong.append(f"{row.peer} raises {type(error).__name__}")
            print(begin + f"| raises {type(error).__name__} ||| {row.note} |")
            continue
        if not row.note and not (abs(ours - peer) <= SAME and slope <= SAME):
            wrong.append(f"{row.peer} differs")
        print(begin + f"{ours:.6f} | {peer:.6f} | {slope:.0e} | {at_a_low_temperature(row)} | "
              f"{row.note or 'agree'} |")  # fmt: skip
    if check and wrong:
        sys.exit("These rows should agree: " + "; ".join(wrong))


def at_a_low_temperature(row: Check) -> str:
    """Return how far the peer's float32 gradient at tau = .01 is from our float64 one."""
    if "{tau}" not in row.spec or row.note:
        return ""
    _, exact = evaluate(lambda a, b, t: value_of(row, a, b, t), 0.01, torch.float64)
    _, found = evaluate(row.function, 0.01, torch.float32)
    if not found.isfinite().all():
        return "NaN"
    return f"{((found.double() - exact).abs().max() / exact.abs().max()).item():.0e}"


if __name__ == "__main__":
    main()
