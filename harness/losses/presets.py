"""Presets: losses fixed to exactly one published function, its pairing included.

A preset's name says whose function it is; its settings are those that its paper
tunes. Equation and convention are those of the class it derives from, with the form
that is passed on and the pairing that is stated here. ``docs/parity.md`` holds them
beside public implementations.
"""

from collections.abc import Mapping
from typing import ClassVar

from harness.errors import require_choice
from harness.losses.adnce import ADNCE
from harness.losses.fmicl import FMICL
from harness.losses.hcl import HCL, Debiased
from harness.losses.infonce import InfoNCE
from harness.losses.sogclr import ISogCLR, SogCLR

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
"""{data set or encoder: (temperature, mu, sigma)}, as the authors published them."""


class _ADNCEPaper(ADNCE):
    """ADNCE with the published temperature, mu and sigma of a data set, or others."""

    published: ClassVar[Mapping[str, tuple[float, float, float]]]

    def _as_published(
        self, form: str, data: str, temperature: float | None, mu: float | None, sigma: float | None
    ) -> None:
        require_choice("data", data, self.published)
        own = self.published[data]
        chosen = [
            default if given is None else given
            for given, default in zip((temperature, mu, sigma), own, strict=True)
        ]
        ADNCE.__init__(self, temperature=chosen[0], mu=chosen[1], sigma=chosen[2], form=form)
        self.data = data


class ADNCEImagePaper(_ADNCEPaper):
    """ADNCE as published for images: symmetric, 2B - 2 negatives, both views.

    Args:
        data: whose published settings: ``cifar10``, ``cifar100`` or ``stl10``.
        temperature: tau; None: the published one.
        mu: the score at which a negative weighs most; None: the published one.
        sigma: the width of the Gaussian; None: the published one.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Wu et al., NeurIPS 2023, arXiv 2310.11048.
    """

    pairing = "both_views"
    published = ADNCE_IMAGES

    def __init__(
        self,
        *,
        data: str = "cifar10",
        temperature: float | None = None,
        mu: float | None = None,
        sigma: float | None = None,
    ) -> None:
        self._as_published("image", data, temperature, mu, sigma)


class ADNCESentencePaper(_ADNCEPaper):
    """ADNCE as published for sentences: the positive is weighted and in the mean.

    Args:
        data: whose published settings: those of the encoder ``bert`` or ``roberta``.
        temperature: tau; None: the published one.
        mu: the score at which a negative weighs most; None: the published one.
        sigma: the width of the Gaussian; None: the published one.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Wu et al., NeurIPS 2023, arXiv 2310.11048.
    """

    pairing = "cross_view"
    published = ADNCE_SENTENCES

    def __init__(
        self,
        *,
        data: str = "bert",
        temperature: float | None = None,
        mu: float | None = None,
        sigma: float | None = None,
    ) -> None:
        self._as_published("sentence", data, temperature, mu, sigma)


class ADNCEGraphPaper(_ADNCEPaper):
    """ADNCE as published for graphs: decoupled, over the mean of the negatives.

    Args:
        data: whose published settings: ``nci1``, ``proteins``, ``dd``, ``mutag``, ``collab``,
            ``rdt-b``, ``rdt-5k`` or ``imdb-b``.
        temperature: tau; None: the published one.
        mu: the score at which a negative weighs most; None: the published one.
        sigma: the width of the Gaussian; None: the published one.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Wu et al., NeurIPS 2023, arXiv 2310.11048.
    """

    pairing = "cross_view"
    published = ADNCE_GRAPHS

    def __init__(
        self,
        *,
        data: str = "dd",
        temperature: float | None = None,
        mu: float | None = None,
        sigma: float | None = None,
    ) -> None:
        self._as_published("graph", data, temperature, mu, sigma)


class SimCLR(InfoNCE):
    """NT-Xent as in SimCLR: both views are anchors and negatives.

    Args:
        temperature: tau; the paper's for CIFAR-10.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Chen et al., ICML 2020, arXiv 2002.05709.
    """

    pairing = "both_views"

    def __init__(self, *, temperature: float = 0.5) -> None:
        super().__init__(temperature=temperature)


class GRACE(InfoNCE):
    """GRACE's loss: inter- and intra-view negatives, which is NT-Xent over nodes.

    Args:
        temperature: tau; the paper's for Cora.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Zhu et al. 2020, arXiv 2006.04131.
    """

    pairing = "both_views"

    def __init__(self, *, temperature: float = 0.4) -> None:
        super().__init__(temperature=temperature)


class SimCSE(InfoNCE):
    """SimCSE's unsupervised loss: the first view's rows against the second's.

    Args:
        temperature: tau.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Gao et al., EMNLP 2021, arXiv 2104.08821.
    """

    pairing = "cross_view"

    def __init__(self, *, temperature: float = 0.05) -> None:
        super().__init__(temperature=temperature)


class MNRL(InfoNCE):
    """MultipleNegativesRankingLoss of sentence-transformers, at its default scale of 20.

    Args:
        temperature: one over the scale.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Henderson et al. 2017, arXiv 1705.00652.
    """

    pairing = "cross_view"

    def __init__(self, *, temperature: float = 0.05) -> None:
        super().__init__(temperature=temperature)


class CLIP(InfoNCE):
    """CLIP's symmetric loss, at a fixed temperature: cross-view in both directions.

    Args:
        temperature: tau; CLIP learns it, from .07.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Radford et al., ICML 2021, arXiv 2103.00020.
    """

    pairing = "cross_view_symmetric"

    def __init__(self, *, temperature: float = 0.07) -> None:
        super().__init__(temperature=temperature)


class DebiasedPaper(Debiased):
    """The debiased loss as published: both views, tau = .5, tau+ = .1.

    Args:
        temperature: tau.
        tau_plus: the assumed share of false negatives.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Chuang et al., NeurIPS 2020, arXiv 2007.00224.
    """

    pairing = "both_views"


class HCLPaper(HCL):
    """HCL as published: both views, tau = .5, tau+ = .1, beta = 1.

    Args:
        temperature: tau.
        tau_plus: the assumed share of false negatives.
        beta: how much harder negatives weigh.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Robinson et al., ICLR 2021, arXiv 2010.04592.
    """

    pairing = "both_views"

    def __init__(
        self, *, temperature: float = 0.5, tau_plus: float = 0.1, beta: float = 1.0
    ) -> None:
        super().__init__(temperature=temperature, tau_plus=tau_plus, beta=beta, detach=False)


FMICL_DIVERGENCES = ("kl", "js", "pearson", "hellinger", "tsallis", "vincze-le-cam")
"""The six of the paper's tables; the other two that :class:`FMICL` knows collapse."""


class FMICLImagePaper(FMICL):
    """f-MICL as published for images: f-Gaussian, same-view negatives, alpha = 40.

    Args:
        divergence: which f: ``kl``, ``js``, ``pearson``, ``hellinger``, ``tsallis`` or
            ``vincze-le-cam``.

    Raises:
        InputError: where the divergence is none of these.

    References:
        Lu et al., TMLR 2023, arXiv 2402.10150.
    """

    pairing = "same_view"

    def __init__(self, *, divergence: str = "kl") -> None:
        require_choice("divergence", divergence, FMICL_DIVERGENCES)
        super().__init__(divergence=divergence)


class FMICLTextPaper(FMICL):
    """f-MICL as published for text: 1/(2 sigma^2) = 20, alpha = 409600.

    Args:
        divergence: which f: ``kl``, ``js``, ``pearson``, ``hellinger``, ``tsallis`` or
            ``vincze-le-cam``.

    Raises:
        InputError: where the divergence is none of these.

    References:
        Lu et al., TMLR 2023, arXiv 2402.10150.
    """

    pairing = "same_view"

    def __init__(self, *, divergence: str = "kl") -> None:
        require_choice("divergence", divergence, FMICL_DIVERGENCES)
        super().__init__(divergence=divergence, alpha=409600.0, sigma=40**-0.5)


class SogCLRPaper(SogCLR):
    """SogCLR as published for images: both views, tau = .1, gamma = .9.

    Args:
        temperature: tau.
        gamma: the weight of the new estimate.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Yuan et al., ICML 2022, arXiv 2202.12387; github.com/Optimization-AI/SogCLR.
    """

    pairing = "both_views"


class ISogCLRPaper(ISogCLR):
    """iSogCLR as published for images: both views, CIFAR-100's settings.

    Temperatures start at .1, stay within .05 and 1, and move by .03 times a slope that is
    half the new one's and half the old.

    Args:
        rho: the radius.
        gamma: the weight of the new estimate.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Qiu et al., ICML 2023, arXiv 2305.11965; the unimodal experiments of
        github.com/zhqiu/contrastive-learning-iSogCLR.
    """

    pairing = "both_views"

    def __init__(self, *, rho: float = 0.4, gamma: float = 0.8) -> None:
        super().__init__(
            temperature=0.1, rho=rho, gamma=gamma, tau_rate=0.03, momentum=0.5, low=0.05, high=1.0
        )
