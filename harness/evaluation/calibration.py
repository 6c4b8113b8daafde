"""BatchNorm statistics of clean training data, for evaluating an encoder."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def calibrate(encoder: nn.Module, batches: Iterable[Any]) -> None:
    """Replace the running statistics of an encoder's BatchNorm layers by those of ``batches``.

    Training leaves a moving average over augmented views, taken while the weights changed. An
    untrained encoder has no statistics at all. The new statistics are the mean over the
    batches of their means and variances. Only BatchNorm is in training mode, so that no
    dropout is drawn and nothing but these statistics changes. An encoder without such layers,
    or a task without batches, is left as it is.

    Args:
        encoder: the encoder; every module's mode is restored afterwards.
        batches: inputs of the encoder, without augmentation.

    References:
        Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm", arXiv 2105.07576 (precise
        BatchNorm).
    """
    layers = _layers(encoder)
    if not layers:
        return
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        return
    modes = [(module, module.training) for module in encoder.modules()]
    momenta = [layer.momentum for layer in layers]
    try:
        encoder.eval()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # None: a plain average over all batches.
            layer.train()
        for batch in chain([first], batches):
            encoder(batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, mode in modes:
            module.training = mode


@contextmanager
def calibrated(encoder: nn.Module, batches: Iterable[Any]) -> Iterator[None]:
    """Calibrate to ``batches`` inside the block; restore the old statistics afterwards."""
    held = [
        (layer, {k: v.clone() for k, v in layer.state_dict().items()}) for layer in _layers(encoder)
    ]
    try:
        calibrate(encoder, batches)
        yield
    finally:
        for layer, state in held:
            layer.load_state_dict(state)


def _layers(encoder: nn.Module) -> list[_BatchNorm]:
    """Return the layers that keep running statistics."""
    return [
        module
        for module in encoder.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
