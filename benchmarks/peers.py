"""Other libraries' losses, as functions of two views, to compare ours with.

Each function imports its library at its first call. Some libraries import far more than a
loss needs: torchvision, whose wheels are built for CUDA, torch_scatter, lightning. Empty
modules take the place of those that are missing before the file of the loss is loaded;
nothing of the loss itself is replaced.

``pip install -e '.[bench]'`` installs most of them. Two have dependencies of hundreds of
megabytes, and are installed without them: ``pip install --no-deps libauc stable-pretraining``.
"""

import contextlib
import importlib
import importlib.machinery
import importlib.util
import io
import math
import sys
import sysconfig
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

SITE = Path(sysconfig.get_paths()["purelib"])


def installed(package: str) -> bool:
    """Return whether a package's files are installed."""
    return (SITE / package).is_dir() or (SITE / f"{package}.py").is_file()


def empty(name: str, **names: Any) -> types.ModuleType:
    """Put a module that holds only the given names into ``sys.modules``."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    module.__path__ = [str(SITE.joinpath(*name.split(".")))]
    module.__dict__.update(names)
    sys.modules[name] = module
    parent, _, leaf = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], leaf, module)
    return module


def file(name: str, path: str) -> Any:
    """Return one file of an installed package, loaded without the rest of it."""
    spec = importlib.util.spec_from_file_location(name, SITE / path)
    if spec is None or spec.loader is None or not (SITE / path).is_file():
        raise ModuleNotFoundError(f"No file {path} in {SITE}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if installed("torchvision"):  # A CPU torch can import a CUDA build of it, but for this module.
    sys.modules["torchvision._meta_registrations"] = types.ModuleType("_meta_registrations")


@cache
def lightly() -> types.SimpleNamespace:
    """Return lightly's losses."""
    if not installed("lightly"):
        raise ModuleNotFoundError("lightly")
    for name in ("", ".loss", ".models", ".models.modules", ".utils"):
        empty(f"lightly{name}")
    before = {name: sys.modules.get(name) for name in ("torchvision", "torchvision.ops")}
    empty("torchvision")
    empty("torchvision.ops", StochasticDepth=type("StochasticDepth", (), {}), roi_align=None)
    losses = {}
    for name in (
        "ntx_ent_loss", "dcl_loss", "vicreg_loss", "barlow_twins_loss", "swav_loss", "dino_loss",
        "negative_cosine_similarity", "hypersphere_loss",
    ):  # fmt: skip
        losses |= vars(importlib.import_module(f"lightly.loss.{name}"))
    # Put torchvision back, or transformers would take the empty module for the real one.
    for name, module in before.items():
        sys.modules.pop(name)
        if module is not None:
            sys.modules[name] = module
    return types.SimpleNamespace(**losses)


@cache
def pygcl() -> types.SimpleNamespace:
    """Return PyGCL's losses and contrast modes."""
    if not installed("GCL"):
        raise ModuleNotFoundError("GCL")
    empty("GCL")
    if importlib.util.find_spec("torch_scatter") is None:
        empty("torch_scatter", scatter=None)
    losses, models = (importlib.import_module(f"GCL.{part}") for part in ("losses", "models"))
    return types.SimpleNamespace(**(vars(losses) | vars(models)))


@cache
def stable_pretraining() -> Any:
    """Return stable-pretraining's losses on joint embeddings."""
    if not installed("stable_pretraining"):
        raise ModuleNotFoundError("stable_pretraining")
    empty("stable_pretraining")
    empty("stable_pretraining.losses")
    empty(
        "stable_pretraining.utils",
        all_gather=lambda rows, *_: (rows,),
        all_reduce=lambda rows, *_: rows,
        get_rank=lambda: 0,
        get_world_size=lambda: 1,
    )
    if importlib.util.find_spec("loguru") is None:
        empty("loguru", logger=types.SimpleNamespace(error=print))
    return importlib.import_module("stable_pretraining.losses.joint_embedding")


@cache
def libauc() -> Any:
    """Return LibAUC's contrastive losses."""
    return file("_libauc", "libauc/losses/contrastive.py")


@cache
def open_clip() -> Any:
    """Return OpenCLIP's losses."""
    return file("_open_clip", "open_clip/loss.py")


@cache
def sentence_transformers() -> Any:
    """Return sentence-transformers' losses."""
    return importlib.import_module("sentence_transformers.sentence_transformer.losses")


@cache
def metric_learning() -> Any:
    """Return pytorch-metric-learning's losses."""
    return importlib.import_module("pytorch_metric_learning.losses")


class Passthrough(nn.Module):
    """A sentence encoder whose features are their own embedding."""

    def __getitem__(self, index: int) -> "Passthrough":
        """Return itself for every index."""
        return self

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        """Return the features as embeddings."""
        return {"sentence_embedding": features["x"]}


# NT-Xent: both views are anchors, with 2B - 2 negatives each; the mean over 2B anchors.


def plain_ntxent(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return NT-Xent as it is usually written first: cross-entropy over the whole matrix."""
    rows = normalize(torch.cat([a, b]), dim=1)
    scores = rows @ rows.T / tau
    own = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    positives = torch.arange(len(rows), device=rows.device).roll(len(a))
    return cross_entropy(scores.masked_fill(own, -math.inf), positives)


def grace_in_batches(a: Tensor, b: Tensor, tau: float, batch: int = 1024) -> Tensor:
    """Return GRACE's loss the way its code bounds memory: a batch of anchors at a time."""
    x, y = normalize(a, dim=1), normalize(b, dim=1)
    parts = []
    for first, second in ((x, y), (y, x)):
        for start in range(0, len(first), batch):
            anchors = first[start : start + batch]
            intra = (anchors @ first.T / tau).exp()
            inter = (anchors @ second.T / tau).exp()
            own = torch.arange(start, start + len(anchors), device=a.device)[:, None]
            below = intra.sum(dim=1) + inter.sum(dim=1) - intra.gather(1, own)[:, 0]
            parts.append(-(inter.gather(1, own)[:, 0] / below).log())
    return torch.cat(parts).mean()


def lightly_ntxent(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return lightly's NTXentLoss."""
    value: Tensor = lightly().NTXentLoss(temperature=tau)(a, b)
    return value


def stable_pretraining_ntxent(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return stable-pretraining's NTXEntLoss."""
    value: Tensor = stable_pretraining().NTXEntLoss(temperature=tau)(a, b)
    return value


def metric_learning_supcon(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return pytorch-metric-learning's SupConLoss, each example a class of two."""
    labels = torch.arange(len(a), device=a.device).repeat(2)
    value: Tensor = metric_learning().SupConLoss(temperature=tau)(torch.cat([a, b]), labels)
    return value


JOINT = {"directions": ("query_to_doc", "query_to_query"), "partition_mode": "joint"}


def sentence_transformers_ntxent(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return MultipleNegativesRankingLoss over both views, in both directions."""
    loss = sentence_transformers().MultipleNegativesRankingLoss(
        Passthrough(), scale=1 / tau, **JOINT
    )
    ways = [loss.compute_loss_from_embeddings(list(p), None) for p in ((a, b), (b, a))]
    return torch.stack(ways).mean()


def sentence_transformers_cached(a: Tensor, b: Tensor, tau: float, batch: int = 256) -> Tensor:
    """Return CachedMultipleNegativesRankingLoss, which takes its gradients in the forward pass."""
    loss = sentence_transformers().CachedMultipleNegativesRankingLoss(
        Passthrough(), scale=1 / tau, mini_batch_size=batch, **JOINT
    )
    ways = [loss([{"x": first}, {"x": second}], None) for first, second in ((a, b), (b, a))]
    return torch.stack(ways).mean()


def pygcl_infonce(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return PyGCL's InfoNCE with intra-view negatives, at its defaults."""
    gcl = pygcl()
    contrast = gcl.DualBranchContrast(loss=gcl.InfoNCE(tau=tau), mode="L2L", intraview_negs=True)
    value: Tensor = contrast(a, b)
    return value


def pygcl_infonce_masked(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return PyGCL's InfoNCE with a mask of ones, with which it keeps its own mask."""
    gcl = pygcl()
    contrast = gcl.DualBranchContrast(loss=gcl.InfoNCE(tau=tau), mode="L2L", intraview_negs=True)
    value: Tensor = contrast(a, b, extra_neg_mask=torch.ones(len(a), 2 * len(a), dtype=a.dtype))
    return value


# One direction: the first view's rows against the second's.


def sentence_transformers_mnrl(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return MultipleNegativesRankingLoss with its default directions."""
    loss = sentence_transformers().MultipleNegativesRankingLoss(Passthrough(), scale=1 / tau)
    value: Tensor = loss.compute_loss_from_embeddings([a, b], None)
    return value


def info_nce(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return info-nce-pytorch's InfoNCE with in-batch negatives."""
    value: Tensor = importlib.import_module("info_nce").InfoNCE(temperature=tau)(a, b)
    return value


def open_clip_clip(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return OpenCLIP's ClipLoss."""
    value: Tensor = open_clip().ClipLoss()(normalize(a, dim=1), normalize(b, dim=1), 1 / tau)
    return value


def open_clip_siglip(a: Tensor, b: Tensor, scale: float, bias: float) -> Tensor:
    """Return OpenCLIP's SigLipLoss."""
    value: Tensor = open_clip().SigLipLoss()(normalize(a, dim=1), normalize(b, dim=1), scale, bias)
    return value


def sentence_transformers_hardness(a: Tensor, b: Tensor, tau: float, alpha: float) -> Tensor:
    """Return MultipleNegativesRankingLoss with its hardness weights, which are LLaVE's."""
    loss = sentence_transformers().MultipleNegativesRankingLoss(
        Passthrough(), scale=1 / tau, hardness_mode="in_batch_negatives", hardness_strength=alpha
    )
    value: Tensor = loss.compute_loss_from_embeddings([a, b], None)
    return value


def sogclr(a: Tensor, b: Tensor, tau: float, gamma: float) -> Tensor:
    """Return LibAUC's unimodal SogCLR at its first step."""
    with contextlib.redirect_stdout(io.StringIO()):
        loss = libauc().GCLoss_v1(N=len(a), tau=tau, gamma=gamma, device=torch.device("cpu"))
    loss.u = loss.u.to(a.dtype)
    value: Tensor = loss(a, b, torch.arange(len(a)))
    return value


# ADNCE, the way its reference repository computes it: whole matrices, masks, exponentials.


def adnce_reference_way(a: Tensor, b: Tensor, tau: float, mu: float, sigma: float) -> Tensor:
    """Return the image form over whole matrices: scores, masks and weights in exp space."""
    size = len(a)
    rows = normalize(torch.cat([a, b]), dim=1)
    scores = rows @ rows.T
    negatives = torch.ones(2 * size, 2 * size, dtype=torch.bool, device=a.device)
    for i in range(size):
        negatives[i, i] = negatives[i, i + size] = False
        negatives[i + size, i] = negatives[i + size, i + size] = False
    pos = (normalize(a, dim=1) * normalize(b, dim=1)).sum(dim=1)
    pulled = torch.cat([pos, pos]).div(tau).exp()
    chosen = scores.masked_select(negatives).view(2 * size, -1)
    density = (-((chosen - mu) ** 2) / (2 * sigma**2)).exp() / (sigma * math.sqrt(2 * math.pi))
    weights = (density / density.mean(dim=1, keepdim=True)).detach()
    pushed = ((chosen / tau).exp() * weights).sum(dim=1)
    return -(pulled / (pulled + pushed)).log().mean()


def adnce_sentence_way(a: Tensor, b: Tensor, tau: float, mu: float, sigma: float) -> Tensor:
    """Return the sentence form over the whole matrix: the diagonal is weighted too."""
    scores = normalize(a, dim=1) @ normalize(b, dim=1).T
    density = (-((scores - mu) ** 2) / (2 * sigma**2)).exp()
    weights = (density / density.mean(dim=1, keepdim=True)).detach()
    below = (weights * (scores / tau).exp()).sum(dim=1)
    return -((scores.diagonal() / tau).exp() / below).log().mean()


def adnce_graph_way(a: Tensor, b: Tensor, tau: float, mu: float, sigma: float) -> Tensor:
    """Return the graph form over the whole matrix: decoupled, with a mean over negatives."""
    size = len(a)
    scores = normalize(a, dim=1) @ normalize(b, dim=1).T
    rest = scores[~torch.eye(size, dtype=torch.bool)].view(size, -1)
    density = (-((rest - mu) ** 2) / (2 * sigma**2)).exp()
    weights = (density / density.mean(dim=1, keepdim=True)).detach()
    below = (weights * (rest / tau).exp()).sum(dim=1) / (size - 1)
    return -((scores.diagonal() / tau).exp() / below).log().mean()


def pygcl_debiased(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return PyGCL's DebiasedInfoNCE."""
    gcl = pygcl()
    loss = gcl.DebiasedInfoNCE(tau=tau, tau_plus=0.1)
    value: Tensor = gcl.DualBranchContrast(loss=loss, mode="L2L")(a, b)
    return value


def pygcl_hardness(a: Tensor, b: Tensor, tau: float) -> Tensor:
    """Return PyGCL's HardnessInfoNCE."""
    gcl = pygcl()
    loss = gcl.HardnessInfoNCE(tau=tau, tau_plus=0.1, beta=1.0)
    value: Tensor = gcl.DualBranchContrast(loss=loss, mode="L2L")(a, b)
    return value


NTXENT: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "plain": plain_ntxent,
    "grace-in-batches": grace_in_batches,
    "lightly": lightly_ntxent,
    "stable-pretraining": stable_pretraining_ntxent,
    "sentence-transformers": sentence_transformers_ntxent,
    "sentence-transformers-cached": sentence_transformers_cached,
    "metric-learning-supcon": metric_learning_supcon,
}
"""Contenders that compute the same value as our ``simclr``, by name."""
