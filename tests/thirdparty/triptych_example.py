"""Somebody else's plugins: a loss in about 10 lines, and a task in about 40."""

from typing import Annotated

import torch
from torch import nn

from triptych import (
    Above,
    Batch,
    Between,
    Evaluation,
    Metric,
    ScoreLoss,
    Task,
    logistic_probe,
    masked_logsumexp,
    mlp,
    represent,
)


class Margin(ScoreLoss):
    """The smooth maximum of the negatives, a margin below the positive."""

    sharpness: Annotated[float, Above(0)] = 10.0
    margin: Annotated[float, Between(-2, 2)] = 0.2

    def per_anchor(self, pos, neg, keep):
        hardest = masked_logsumexp(neg * self.sharpness, keep) / self.sharpness
        return nn.functional.softplus(self.sharpness * (hardest - pos + self.margin))


class Blobs(Task):
    """Points around six centres, most of their coordinates noise; views redraw the noise."""

    modality = "points"
    labelled = True
    metrics = (Metric("accuracy"),)

    def __init__(self, *, noise: float = 2.0, steps: int = 40, batch_size: int = 64):
        super().__init__(steps=steps, batch_size=batch_size, learning_rate=0.01, weight_decay=0.0)
        self.noise = noise

    def load(self, randomness):
        generator = randomness.torch("split")
        centres = torch.randn(6, 8, generator=generator)
        self.labels = torch.arange(600) % 6
        points = centres[self.labels] + 0.3 * torch.randn(600, 8, generator=generator)
        self.points = torch.cat([points, torch.zeros(600, 24)], dim=1)
        self.noisy = self.points + self.noise * torch.randn(600, 32, generator=generator)
        self.parts = {"train": range(300), "validation": range(300, 450), "test": range(450, 600)}

    def splits(self):
        return [self.parts]

    def train_size(self):
        return len(self.parts["train"])

    def batch(self, index):
        return Batch(self.points[index], index, self.labels[index])

    def views(self, data):
        return tuple(data + self.noise * torch.randn_like(data) for _ in range(2))

    def encoder(self):
        return mlp([32, 64, 8], batch_norm=False)

    def head(self, width):
        return nn.Linear(width, 8)

    def evaluate(self, encoder, splits):
        rows = represent(encoder, [self.noisy])
        pairs = {name: (rows[part], self.labels[part].numpy()) for name, part in self.parts.items()}
        train = tuple(half[:60] for half in pairs["train"])
        predict = logistic_probe(train, pairs["validation"])
        right = {split: predict(pairs[split][0]) == pairs[split][1] for split in splits}
        return Evaluation({split: {"accuracy": own.mean()} for split, own in right.items()})
