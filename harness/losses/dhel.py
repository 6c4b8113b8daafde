"""DHEL and KCL: negatives from the anchor's own view, decoupled from the positive."""

from typing import Annotated

from torch import Tensor

from harness.losses.dcl import DCL
from harness.losses.sums import SumLoss
from harness.settings import Above, Between


class DHEL(DCL, fixed={"mean": False}):
    r"""Push anchors away from rows of their own view only, not of the positive's view.

    .. math:: \ell_i = -u_i \cdot v_i/\tau + \log \sum_{j \ne i} e^{u_i \cdot u_j/\tau}

    Convention: the pairing is ``same_view_symmetric``: each view's rows are anchors in
    turn, and the mean is over both. (The authors' code adds the two views' terms but
    counts the positive once, so the positive weighs half as much there.) An anchor
    without a negative has the loss 0.

    Args:
        temperature: tau.

    Raises:
        InputError: if the temperature is invalid.

    >>> import torch
    >>> from harness.contrast import same_view_symmetric
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> [DHEL(temperature=1.0)(c).item() for c in same_view_symmetric(a, a)]  # -1 + log e^0
    [-1.0, -1.0]

    References:
        Koromilas et al., 2024, arXiv 2405.18045.
    """

    label = "DHEL"
    pairing = "same_view_symmetric"

    temperature: float = 0.3


class KCL(SumLoss):
    r"""Pull positives together and spread each view out, with a Gaussian kernel.

    .. math::
        \ell = -2 \operatorname{E} k(u, v)
        + \gamma \big(\operatorname{E} k(u, u') + \operatorname{E} k(v, v')\big), \qquad
        k(x, y) = e^{-t \lVert x - y \rVert^2}

    Convention: the pairing is ``same_view_symmetric``. Each of its two contrasts
    holds -2 E k(u, v) and twice its own view's term, so that their mean is the
    equation. Expectations are means over an anchor's negatives and over anchors. An
    anchor without a negative has the loss 0.

    Args:
        t: the kernel's inverse width.
        gamma: the weight of spreading out.

    Raises:
        InputError: if a setting is invalid.

    >>> import torch
    >>> from harness.contrast import same_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> loss = KCL(t=0.5, gamma=0.5)  # k(u, v) = 1; u and u' are 2 apart, squared: e^-1
    >>> round(loss(*same_view(a, a)).item(), 6)  # -2 + 2 * .5 / e
    -1.632121

    References:
        Koromilas et al., 2024, arXiv 2405.18045.
    """

    label = "KCL"
    pairing = "same_view_symmetric"

    t: Annotated[float, Above(0, 100)] = 2.0
    gamma: Annotated[float, Between(0, 1e6)] = 16.0

    def terms(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return log k: minus t times the squared distance."""
        return ((scores - 1) * (2 * self.t),)

    def slopes(self) -> tuple[float, ...]:
        """Return 2 t."""
        return (2 * self.t,)

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return -2 k(u, v) plus twice gamma times the mean kernel of the negatives."""
        spread = (sums[0] - count.log()).exp()
        return 2 * self.gamma * spread - 2 * self.terms(pos)[0].exp()
