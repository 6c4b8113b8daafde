"""Triptych: compare contrastive losses fairly on images, sentences and graphs.

What this package exports is the interface: everything else may move between versions.

    import triptych

    study = triptych.Study("mine", tasks=["images"], losses=["infonce", "adnce"])
    triptych.run(study, "runs/mine")
    board = triptych.leaderboard(triptych.load_records("runs/mine"))

Run studies with :class:`Study` and :func:`run`, read them with :func:`load_records` and
:func:`leaderboard`. Write a loss as a :class:`SumLoss`, :class:`ScoreLoss` or :class:`Loss`, a
method as a :class:`Method`, a task as a :class:`Task`; their settings are fields with a
:class:`Between`, :class:`Above` or :class:`OneOf`.
"""

from importlib.util import find_spec
from pathlib import Path

for _name in ("harness", "adapters", "tasks", "leaderboards"):
    _spec = find_spec(_name)  # This does not import it, and so runs no code of another package.
    _found = Path(_spec.origin or "") if _spec is not None else Path()
    if not _found.is_relative_to(Path(__file__).parent.parent):
        raise ImportError(
            f"Triptych's package {_name!r} is hidden by {_found}. Start Python from another folder "
            "or rename that one; the command `triptych` works everywhere."
        )

from harness.contrast import Contrast
from harness.core.content import Content
from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.data import checksums
from harness.evaluation.probes import knn_probe, logistic_probe
from harness.evaluation.represent import represent
from harness.heads import mlp
from harness.losses.base import Loss, ScoreLoss, masked_logsumexp
from harness.losses.scheduled import Scheduled
from harness.losses.sums import SumLoss
from harness.methods.base import Method
from harness.metrics import Evaluation, Metric
from harness.run.runner import Interrupted, run
from harness.settings import Above, Between, OneOf, evaluation, location
from harness.store.table import load_records
from harness.study.study import Study
from harness.task import Batch, Task
from harness.testing import contracts
from leaderboards import leaderboard

__all__ = [
    "Above",
    "Batch",
    "Between",
    "Content",
    "Contrast",
    "Evaluation",
    "InputError",
    "Interrupted",
    "Loss",
    "Method",
    "Metric",
    "OneOf",
    "Randomness",
    "Scheduled",
    "ScoreLoss",
    "Study",
    "SumLoss",
    "Task",
    "checksums",
    "contracts",
    "evaluation",
    "knn_probe",
    "leaderboard",
    "load_records",
    "location",
    "logistic_probe",
    "masked_logsumexp",
    "mlp",
    "represent",
    "run",
]
