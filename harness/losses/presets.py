"""Presets: losses fixed to exactly one published function, including its pairing.

A preset's name says whose function it is. It keeps only the settings that its paper tunes,
with the paper's values as defaults. Equation and convention are those of the class it
derives from. ``docs/parity.md`` compares presets with public implementations.
"""

from collections.abc import Mapping
from types import new_class
from typing import Annotated, Any, ClassVar, TypeVar

from harness.losses.adnce import ADNCE
from harness.losses.base import Loss
from harness.losses.fmicl import FMICL
from harness.losses.hcl import HCL, Debiased
from harness.losses.infonce import InfoNCE
from harness.losses.rince import RINCE
from harness.losses.sogclr import ISogCLR, SogCLR
from harness.settings import OneOf

Published = Mapping[str, tuple[float, float, float]]
"""{data set or encoder: (temperature, mu, sigma)}, as ADNCE's authors published them."""

ADNCE_IMAGES = {
    "cifar10": (0.4, 0.7, 0.5),
    "cifar100": (0.3, 0.5, 1.0),
    "stl10": (0.2, 0.8, 1.0),
}
ADNCE_SENTENCES = {
    "bert": (0.07, 0.4, 1.0),
    "roberta": (0.06, 2.0, 1.0),
}
ADNCE_GRAPHS = {
    "nci1": (0.05, 0.7, 1.0),
    "proteins": (0.05, 1.5, 1.0),
    "dd": (0.2, 0.2, 1.0),
    "mutag": (0.15, 0.7, 1.0),
    "collab": (0.1, 0.3, 1.0),
    "rdt-b": (0.15, 0.3, 1.0),
    "rdt-5k": (0.15, 0.8, 1.0),
    "imdb-b": (0.55, 0.7, 1.0),
}


L = TypeVar("L", bound=Loss)


def preset(
    name: str,
    base: type[L],
    summary: str,
    references: str,
    *,
    label: str,
    pairing: str,
    fixed: Mapping[str, Any] | None = None,
    published: Published | None = None,
    **defaults: Any,
) -> type[L]:
    """Make a subclass of ``base`` with a paper's pairing and defaults.

    Args:
        name: the name of the class.
        base: the loss that has the equation.
        summary: the first line of the docstring.
        references: the paper, and its code if that says more.
        label: what people call it.
        pairing: the paper's pairing.
        fixed: settings that the preset does not take, with their values.
        published: the values that the setting ``data`` chooses from.
        **defaults: settings that the preset takes, with the paper's values.
    """

    def body(namespace: dict[str, Any]) -> None:
        # Settings are read from annotations, so a new default needs the base's annotation again.
        types = {key: base.settings[key].annotation for key in defaults}
        if published is not None:
            types["data"] = Annotated[str, OneOf(published)]
            namespace["published"] = published
        namespace |= {"__module__": __name__, "__annotations__": types}
        namespace |= {"label": label, "pairing": pairing}
        namespace |= defaults
        namespace["__doc__"] = (
            f"{summary}\n\nEquation and settings: :class:`{base.__name__}`.\n\nReferences:\n"
            f"    {references}\n"
        )

    made: type[L] = new_class(name, (base,), {"fixed": fixed}, body)
    return made


class _ADNCEPaper(ADNCE):
    """ADNCE with the temperature, mu and sigma published for a data set or encoder.

    Args:
        data: the data set or encoder whose published values are the defaults.
        temperature: tau; None: the published one.
        mu: the score at which a negative weighs most; None: the published one.
        sigma: the width of the Gaussian; None: the published one.
    """

    published: ClassVar[Published]
    data: str = ""
    temperature: float | None = None  # type: ignore[assignment]
    mu: float | None = None  # type: ignore[assignment]
    sigma: float | None = None  # type: ignore[assignment]

    def setup(self) -> None:
        """Replace each setting that is None by its published value."""
        values = self.published[self.data]
        for name, value in zip(("temperature", "mu", "sigma"), values, strict=True):
            if getattr(self, name) is None:
                setattr(self, name, value)


FMICL_DIVERGENCES = ("kl", "js", "pearson", "hellinger", "tsallis", "vincze-le-cam")
"""The six divergences in the paper's tables; the other two of :class:`FMICL` collapse."""


class _FMICLPaper(FMICL):
    """f-MICL with one of the divergences in the paper's tables."""

    divergence: Annotated[str, OneOf(FMICL_DIVERGENCES)] = "kl"


ADNCEImagePaper = preset(
    "ADNCEImagePaper", _ADNCEPaper,
    "ADNCE as published for images: symmetric, 2B - 2 negatives, both views.",
    "Wu et al., NeurIPS 2023, arXiv 2310.11048.",
    label="ADNCE (images, paper)",
    pairing="both_views", fixed={"form": "image"}, published=ADNCE_IMAGES, data="cifar10",
)  # fmt: skip
ADNCESentencePaper = preset(
    "ADNCESentencePaper", _ADNCEPaper,
    "ADNCE as published for sentences: the positive is weighted and in the mean.",
    "Wu et al., NeurIPS 2023, arXiv 2310.11048.",
    label="ADNCE (sentences, paper)",
    pairing="cross_view", fixed={"form": "sentence"}, published=ADNCE_SENTENCES, data="bert",
)  # fmt: skip
ADNCEGraphPaper = preset(
    "ADNCEGraphPaper", _ADNCEPaper,
    "ADNCE as published for graphs: decoupled, over the mean of the negatives.",
    "Wu et al., NeurIPS 2023, arXiv 2310.11048.",
    label="ADNCE (graphs, paper)",
    pairing="cross_view", fixed={"form": "graph"}, published=ADNCE_GRAPHS, data="dd",
)  # fmt: skip
SimCLR = preset(
    "SimCLR", InfoNCE, "NT-Xent as in SimCLR for CIFAR-10: both views are anchors and negatives.",
    "Chen et al., ICML 2020, arXiv 2002.05709.",
    label="SimCLR",
    pairing="both_views", temperature=0.5,
)  # fmt: skip
GRACE = preset(
    "GRACE", InfoNCE, "GRACE's loss for Cora: inter- and intra-view negatives, NT-Xent over nodes.",
    "Zhu et al. 2020, arXiv 2006.04131.",
    label="GRACE",
    pairing="both_views", temperature=0.4,
)  # fmt: skip
SimCSE = preset(
    "SimCSE", InfoNCE, "SimCSE's unsupervised loss: the first view's rows against the second's.",
    "Gao et al., EMNLP 2021, arXiv 2104.08821.",
    label="SimCSE",
    pairing="cross_view", temperature=0.05,
)  # fmt: skip
MNRL = preset(
    "MNRL", InfoNCE, "MultipleNegativesRankingLoss of sentence-transformers, at its scale of 20.",
    "Henderson et al. 2017, arXiv 1705.00652.",
    label="MNRL",
    pairing="cross_view", temperature=0.05,
)  # fmt: skip
CLIP = preset(
    "CLIP", InfoNCE, "CLIP's symmetric loss at a fixed temperature; CLIP learns it, from .07.",
    "Radford et al., ICML 2021, arXiv 2103.00020.",
    label="CLIP",
    pairing="cross_view_symmetric", temperature=0.07,
)  # fmt: skip
DebiasedPaper = preset(
    "DebiasedPaper", Debiased, "The debiased loss as published: both views, tau = .5, tau+ = .1.",
    "Chuang et al., NeurIPS 2020, arXiv 2007.00224.",
    label="Debiased (paper)",
    pairing="both_views", temperature=0.5, tau_plus=0.1,
)  # fmt: skip
HCLPaper = preset(
    "HCLPaper", HCL, "HCL as published: both views, tau = .5, tau+ = .1, beta = 1.",
    "Robinson et al., ICLR 2021, arXiv 2010.04592.",
    label="HCL (paper)",
    pairing="both_views", fixed={"detach": False}, temperature=0.5, tau_plus=0.1, beta=1.0,
)  # fmt: skip
FMICLImagePaper = preset(
    "FMICLImagePaper", _FMICLPaper,
    "f-MICL as published for images: f-Gaussian, same-view negatives, alpha = 40.",
    "Lu et al., TMLR 2023, arXiv 2402.10150.",
    label="f-MICL (images, paper)",
    pairing="same_view",
    fixed={"similarity": "gaussian", "alpha": 40.0, "mu": 1.0, "sigma": 0.5**0.5, "q": 3.0},
)  # fmt: skip
FMICLTextPaper = preset(
    "FMICLTextPaper", _FMICLPaper,
    "f-MICL as published for text: 1/(2 sigma^2) = 20, alpha = 409600.",
    "Lu et al., TMLR 2023, arXiv 2402.10150.",
    label="f-MICL (text, paper)",
    pairing="same_view",
    fixed={"similarity": "gaussian", "alpha": 409600.0, "mu": 1.0, "sigma": 40**-0.5, "q": 3.0},
)  # fmt: skip
RINCEPaper = preset(
    "RINCEPaper", RINCE, "RINCE as published for images: both views, tau = q = .5.",
    "Chuang et al., CVPR 2022, arXiv 2201.04309.",
    label="RINCE (paper)",
    pairing="both_views", temperature=0.5, q=0.5, lam=0.025,
)  # fmt: skip
SogCLRPaper = preset(
    "SogCLRPaper", SogCLR, "SogCLR as published for images: both views, tau = .1, gamma = .9.",
    "Yuan et al., ICML 2022, arXiv 2202.12387; github.com/Optimization-AI/SogCLR.",
    label="SogCLR (paper)",
    pairing="both_views", temperature=0.1, gamma=0.9,
)  # fmt: skip
ISogCLRPaper = preset(
    "ISogCLRPaper", ISogCLR, "iSogCLR as published for images: both views, CIFAR-100's settings.",
    "Qiu et al., ICML 2023, arXiv 2305.11965; the unimodal experiments of "
    "github.com/zhqiu/contrastive-learning-iSogCLR.",
    label="iSogCLR (paper)",
    pairing="both_views",
    fixed={"temperature": 0.1, "tau_rate": 0.03, "momentum": 0.5, "low": 0.05, "high": 1.0},
    rho=0.4, gamma=0.8,
)  # fmt: skip
