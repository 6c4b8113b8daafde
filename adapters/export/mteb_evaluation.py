"""The ``mteb`` library: its benchmarks, run on a saved encoder.

mteb is optional, and fetches its data from the hub. Install it, save an encoder, and run::

    pip install mteb sentence-transformers
    triptych cell "sentences(...)" --loss infonce --save FOLDER
    python -m adapters.export.mteb_evaluation FOLDER STS12 STS13 Banking77Classification
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import InputError


def evaluate(folder: str | Path, tasks: Sequence[Any]) -> dict[str, float]:
    """Return {task: main score x100} of a sentence-transformers folder.

    Args:
        folder: as ``triptych cell --save`` writes it.
        tasks: names of mteb's tasks, or tasks of its classes.

    Raises:
        InputError: if mteb or sentence-transformers is not installed, the folder holds
            no such model, or mteb has no such task.
    """
    try:
        import mteb
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InputError(
            f"{error.name} is not installed. Run `pip install mteb sentence-transformers`."
        ) from error
    if not (Path(folder) / "modules.json").is_file():
        raise InputError(
            f"`folder` must hold a sentence-transformers model: there is no modules.json in "
            f"{folder}. Write one with `triptych cell SPEC --loss LOSS --save {folder}`."
        )
    model = SentenceTransformer(str(folder), local_files_only=True)
    names = [task for task in tasks if isinstance(task, str)]
    try:
        chosen = [*(mteb.get_tasks(tasks=names) if names else ())]
    except KeyError as error:
        raise InputError(
            f"mteb has no such task: {error}. `mteb.get_tasks()` lists all."
        ) from error
    chosen += [task for task in tasks if not isinstance(task, str)]
    # Do not cache results: mteb would key them by the folder's name, whatever weights it holds.
    results = mteb.evaluate(model, chosen, cache=None).task_results
    return {result.task_name: 100 * float(result.get_score()) for result in results}


if __name__ == "__main__":
    for name, score in evaluate(sys.argv[1], sys.argv[2:]).items():
        print(f"{name}\t{score:.2f}")
