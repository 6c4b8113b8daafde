"""A task whose learning rate follows a schedule, with SGD."""

import torch
from triptych_example import Blobs


class Scheduled(Blobs):
    """Blobs trained by SGD with momentum and a cosine schedule."""

    def make_optimizer(self, groups):
        return torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)

    def make_scheduler(self, optimizer, steps):
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
