"""Linear regression from von Mises-Fisher views: directions instead of Gaussian rows."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from harness.errors import require_number
from harness.randomness import Randomness
from tasks.sufficiency import DIVERGENCES, RegressionTask, sphere_information


class SufficiencyVMF(RegressionTask):
    r"""Learn which directions two views share; regress on what was learned.

    A row is two unit vectors side by side: u of R^p, which matters, and v of R^(d-p), which
    does not; both uniform, v drawn anew in each view. The views' u are a pair of the joint
    distribution whose density ratio is

    .. math::
        r(z, z') = e^{\kappa\, u \cdot u'} / E_p(\kappa), \qquad
        E_p(\kappa) = \Gamma(p/2)\, I_{p/2-1}(\kappa)\, (\kappa/2)^{1-p/2}

    The ratio is divided by E_p: the paper multiplies, and then r does not integrate to 1.
    :math:`\kappa = p / (\sigma^4 + 2 \sigma^2)` is that of Gaussian views,
    x ~ N(0, I_p) and noise N(0, sigma^2), given that both have the length sqrt(p). So

    .. math::
        I_{KL} = \kappa A_p(\kappa) - \log E_p(\kappa), \qquad
        I_{\chi^2} = \tfrac{1}{2} [E_p(2 \kappa) / E_p(\kappa)^2 - 1]

    The joint distribution is drawn from itself: the first view keeps the row's u, the second
    has one of the von Mises-Fisher distribution around it. The best critic of
    ``kl_information``, kappa u . u', is within a linear encoder's reach, that of
    ``chi2_information``, r itself, is not.

    Then y = <x, theta> + N(0, 1), theta = (1, ..., 1, 0, ..., 0) with p ones. Scores are
    ``explained_m``, in points: :class:`~tasks.sufficiency.RegressionTask`.

    Args:
        dimension: d.
        relevant: p, at least 2 and at most d - 2.
        samples: training rows.
        noise: sigma; the larger, the less two views share.
        width: hidden units of a ReLU encoder; 0: a linear encoder.
        representation: the encoder's outputs.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Lin & Mei 2025, arXiv 2503.17538; Mardia & Jupp, Directional Statistics, 2000.
    """

    samples: int = 2000
    steps: int = 300
    batch_size: int = 64
    learning_rate: float = 0.01
    optimizer: str = "adam"

    def setup(self) -> None:
        """Check what ties settings to one another."""
        super().setup()
        require_number(
            "relevant", self.relevant, at_least=2, at_most=self.dimension - 2, whole=True
        )

    @property
    def kappa(self) -> float:
        """The concentration of a view's u around the other's."""
        return self.relevant / (self.noise**4 + 2 * self.noise**2)

    def load(self, randomness: Randomness) -> None:
        """Draw the rows; make the distribution around the first axis."""
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
        """Return the sum of u: its variance is 1."""
        return rows[:, : self.relevant].sum(dim=1)

    def informations(self) -> dict[str, float]:
        """Return {divergence: I_f of two views}."""
        return {n: sphere_information(n, self.relevant, self.kappa) for n in DIVERGENCES}

    def views(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Return the row's u and one around it, each with a v drawn anew."""
        u = data[:, : self.relevant]
        return self._with_fresh_rest(u, data), self._with_fresh_rest(self._around(u), data)

    def _with_fresh_rest(self, u: Tensor, like: Tensor) -> Tensor:
        rest = torch.randn_like(like[:, self.relevant :])
        return torch.cat([u, normalize(rest)], dim=1)

    def _around(self, u: Tensor) -> Tensor:
        """Draw around the first axis, and reflect the axis onto each row of ``u``."""
        # Seeded from torch's own stream, which is the one that the frame seeds.
        generator = np.random.default_rng(int(torch.randint(2**62, ())))
        around_axis = self._around_axis.rvs(len(u), random_state=generator).reshape(u.shape)
        drawn = torch.from_numpy(around_axis).to(u)
        across = -u
        across[:, 0] += 1
        normal = normalize(across)  # Zeros where u is the axis: then nothing is to be done.
        along = torch.linalg.vecdot(drawn, normal)
        reflected: Tensor = drawn - 2 * along[:, None] * normal
        return reflected
