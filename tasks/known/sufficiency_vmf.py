"""Linear regression from von Mises-Fisher views: directions instead of Gaussian rows."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from harness.core.errors import require_number
from harness.core.randomness import Randomness
from tasks.known.sufficiency import DIVERGENCES, RegressionTask, sphere_information


class SufficiencyVMF(RegressionTask):
    r"""Learn which directions two views share; regress on the representation.

    A row is two uniform unit vectors side by side: u in R^p, which matters, and v in
    R^(d-p), which does not and is drawn anew in each view. The views' u and u' are a pair
    from the joint distribution whose density ratio is

    .. math::
        r(z, z') = e^{\kappa\, u \cdot u'} / E_p(\kappa), \qquad
        E_p(\kappa) = \Gamma(p/2)\, I_{p/2-1}(\kappa)\, (\kappa/2)^{1-p/2}

    The ratio is divided by E_p; the paper multiplies by it, but then r does not integrate
    to 1. :math:`\kappa = p / (\sigma^4 + 2 \sigma^2)` is that of Gaussian views,
    x ~ N(0, I_p) and noise N(0, sigma^2), given that both have the length sqrt(p). So

    .. math::
        I_{KL} = \kappa A_p(\kappa) - \log E_p(\kappa), \qquad
        I_{\chi^2} = \tfrac{1}{2} [E_p(2 \kappa) / E_p(\kappa)^2 - 1]

    Views are drawn from this joint distribution exactly: the first keeps the row's u, the
    second draws its u' from the von Mises-Fisher distribution around u. A linear encoder
    can express the best critic of ``kl_information``, kappa u . u', but not that of
    ``chi2_information``, r itself.

    Then y = <x, theta> + N(0, 1), theta = (1, ..., 1, 0, ..., 0) with p ones. Scores are
    ``explained_m``, in points: :class:`~tasks.known.sufficiency.RegressionTask`.

    Args:
        dimension: d.
        relevant: p, at least 2 and at most d - 2.
        samples: training rows.
        noise: sigma; the larger, the less two views share.
        width: hidden units of a ReLU encoder; 0: a linear encoder.
        representation: width of the representation.

    Raises:
        InputError: if a setting is invalid.

    References:
        Lin & Mei 2025, arXiv 2503.17538; Mardia & Jupp, Directional Statistics, 2000.
    """

    label = "Sufficiency (directions)"

    samples: int = 2000
    steps: int = 300
    learning_rate: float = 0.01

    def setup(self) -> None:
        """Check settings that depend on one another."""
        super().setup()
        require_number(
            "relevant", self.relevant, at_least=2, at_most=self.dimension - 2, whole=True
        )

    @property
    def kappa(self) -> float:
        """Return the concentration of one view's u around the other's."""
        return self.relevant / (self.noise**4 + 2 * self.noise**2)

    def load(self, randomness: Randomness) -> None:
        """Draw the rows; create the von Mises-Fisher distribution around the first axis."""
        from scipy.stats import vonmises_fisher

        axis = np.eye(self.relevant)[0]
        self._around_axis = vonmises_fisher(axis, self.kappa)  # type: ignore[arg-type]
        super().load(randomness)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return rows of two uniform unit vectors."""
        rows = torch.randn(count, self.dimension, generator=generator)
        p = self.relevant
        return torch.cat([normalize(rows[:, :p]), normalize(rows[:, p:])], dim=1)

    def signal(self, rows: Tensor) -> Tensor:
        """Return the sum of u, whose variance is 1."""
        return rows[:, : self.relevant].sum(dim=1)

    def informations(self) -> dict[str, float]:
        """Return {divergence: I_f of two views}."""
        return {n: sphere_information(n, self.relevant, self.kappa) for n in DIVERGENCES}

    def views(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Return the row's u and a u drawn around it, each with a new v."""
        u = data[:, : self.relevant]
        return self._with_fresh_rest(u, data), self._with_fresh_rest(self._around(u), data)

    def _with_fresh_rest(self, u: Tensor, like: Tensor) -> Tensor:
        rest = torch.randn_like(like[:, self.relevant :])
        return torch.cat([u, normalize(rest)], dim=1)

    def _around(self, u: Tensor) -> Tensor:
        """Draw around the first axis, then reflect the axis onto each row of ``u``."""
        # SciPy's generator is seeded from torch's, which the harness seeds.
        generator = np.random.default_rng(int(torch.randint(2**62, ())))
        around_axis = self._around_axis.rvs(len(u), random_state=generator).reshape(u.shape)
        drawn = torch.from_numpy(around_axis).to(u)
        across = -u
        across[:, 0] += 1
        normal = normalize(across)  # Zero if u is the axis, which needs no reflection.
        along = torch.linalg.vecdot(drawn, normal)
        reflected: Tensor = drawn - 2 * along[:, None] * normal
        return reflected
