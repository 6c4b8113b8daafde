"""The ``mteb`` library: its benchmarks, run on a saved encoder.

It is optional and needs its hub for data: ``pip install mteb sentence-transformers``, then ::

    triptych cell "sentences(...)" --loss infonce --save FOLDER
    python -m adapters.mteb_evaluation FOLDER STS12 STS13 Banking77Classification
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import InputError


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
            f"{error.name} is not installed: `pip install mteb sentence-transformers`."
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
        raise InputError(f"mteb has no such task: {error}.") from error
    chosen += [task for task in tasks if not isinstance(task, str)]
    # Without a cache of results: a folder's name does not identify the weights in it.
    found = mteb.evaluate(model, chosen, cache=None)
    return {result.task_name: 100 * float(result.get_score()) for result in found.task_results}


if __name__ == "__main__":
    for name, score in evaluate(sys.argv[1], sys.argv[2:]).items():
        print(f"{name}\t{score:.2f}")
