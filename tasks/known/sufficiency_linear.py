"""Linear regression from Gaussian views whose information is known."""

import math

import torch
from torch import Tensor

from harness.core.errors import require_number
from tasks.known.sufficiency import DIVERGENCES, RegressionTask, gaussian_information


class SufficiencyLinear(RegressionTask):
    r"""Learn which s of d Gaussian coordinates matter; regress on the representation.

    x ~ N(0, I_d). A view adds N(0, sigma^2) to the first s coordinates and draws the others
    anew. Two views thus share only the first s coordinates, each with the correlation
    :math:`\rho = 1 / (1 + \sigma^2)`:

    .. math::
        I_{KL} = -\tfrac{s}{2} \log(1 - \rho^2), \qquad
        I_{\chi^2} = \tfrac{1}{2} [(1 - \rho^2)^{-s} - 1]

    Then y = <x, theta> + N(0, 1), theta = (1, ..., 1, 0, ..., 0) / sqrt(s). For m labelled
    rows, the excess risk of least squares is d / (m - d - 1) on x itself (``direct``) and
    s / (m - s - 1) on the first s coordinates (``oracle``).

    Scores are ``explained_m``, in points: :class:`~tasks.known.sufficiency.RegressionTask`.
    The head is the identity, so that the scores of ``kl_information`` and
    ``chi2_information`` are dot products of representations. The paper trains for 1000
    epochs, which is 7000 steps; the default is shorter.

    Args:
        dimension: d.
        relevant: s, at most d.
        samples: training rows.
        noise: sigma, of the views' noise on the relevant coordinates.
        width: hidden units of the ReLU encoder; 0: a linear encoder.
        representation: width of the representation.

    Raises:
        InputError: if a setting is invalid.

    References:
        Lin & Mei 2025, arXiv 2503.17538.
    """

    label = "Sufficiency (linear)"

    dimension: int = 100
    noise: float = 0.5
    width: int = 64
    steps: int = 350
    learning_rate: float = 0.001

    def setup(self) -> None:
        """Check settings that depend on one another."""
        super().setup()
        require_number("relevant", self.relevant, at_least=1, at_most=self.dimension, whole=True)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return rows of N(0, I)."""
        return torch.randn(count, self.dimension, generator=generator)

    def signal(self, rows: Tensor) -> Tensor:
        """Return the sum of the relevant coordinates over sqrt(s)."""
        return rows[:, : self.relevant].sum(dim=1) / math.sqrt(self.relevant)

    def informations(self) -> dict[str, float]:
        """Return {divergence: I_f of two views}."""
        rho = 1 / (1 + self.noise**2)
        return {name: gaussian_information(name, rho, self.relevant) for name in DIVERGENCES}

    def views(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Return two copies, with noise on the relevant coordinates and the others drawn anew."""
        return self._view(data), self._view(data)

    def _view(self, rows: Tensor) -> Tensor:
        view: Tensor = torch.randn_like(rows)
        view[:, : self.relevant] *= self.noise
        view[:, : self.relevant] += rows[:, : self.relevant]
        return view
