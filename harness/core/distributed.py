"""Run one cell on several devices: each encodes a share of a batch, and all see every row.

``accelerate launch --num_processes 4 ... triptych cell ...`` or torchrun starts the processes;
both put their number into the environment. Losses need all negatives of a batch, so only the
encoder is spread: every process draws the same batch and views, encodes its own share of the
rows, gathers the others' representations, and computes the same head and loss. The averaged
gradients then equal those of one device with the whole batch.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.core.errors import InputError, require


def count() -> int:
    """Return how many processes the launcher started for this cell; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return this process's rank; rank 0 writes the record."""
    return int(os.environ.get("RANK", "0"))


def size() -> int:
    """Return how many processes have joined; 1 if none, whatever a scheduler's environment says."""
    return dist.get_world_size() if is_joined() else 1


def described() -> str:
    """Return the record's note on the number of processes; empty for one process."""
    return f", one of {size()} processes" if size() > 1 else ""


def require_same(step: int, seen: str) -> None:
    """Raise :class:`RuntimeError` if the processes are not at the same step of the same cell.

    If one process continued from a checkpoint that another one did not find, they would encode
    shares of different batches without an error.
    """
    if not is_joined():
        return
    # NCCL gathers only tensors on a GPU.
    device = torch.cuda.current_device() if dist.get_backend() == "nccl" else "cpu"
    # 15 hexadecimal digits are 60 bits, which fit into an int64 tensor.
    mine = torch.tensor([step, int(seen[:15] or "0", 16)], device=device)
    gathered = [torch.empty_like(mine) for _ in range(size())]
    dist.all_gather(gathered, mine)
    if any(not torch.equal(other, mine) for other in gathered):
        steps = [int(other[0]) for other in gathered]
        raise RuntimeError(
            f"The processes of this cell start at different steps: {steps}. Give them the same "
            "folder and the same versions of libraries, or delete the cell's checkpoint."
        )


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the processes of this cell, and yield this process's device.

    ``cuda`` becomes this process's own GPU. If there is one process, nothing happens.
    """
    if count() == 1:
        yield device
        return
    # The same setup as a worker's: see harness.run.worker and harness.run.processes.
    torch.set_num_threads(1)
    if device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def is_joined() -> bool:
    """Return whether processes have joined."""
    return dist.is_available() and dist.is_initialized()


def spread(encoder: nn.Module) -> nn.Module:
    """Make the encoder encode only its share of each batch, if processes have joined.

    BatchNorm then takes its statistics over all shares.

    Raises:
        InputError: if the encoder has BatchNorm and the processes have no GPU.
    """
    if not is_joined():
        return encoder
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in encoder.modules()):
        require(
            dist.get_backend() == "nccl",
            "`device` must be cuda for an encoder with BatchNorm in several processes: got cpu, "
            "for which torch has no SyncBatchNorm. Use one process.",
        )
        encoder = nn.SyncBatchNorm.convert_sync_batchnorm(encoder)  # type: ignore[no-untyped-call]
    return Spread(encoder)


def unwrapped(encoder: nn.Module) -> nn.Module:
    """Return the encoder without the wrapper that :func:`spread` may have put around it."""
    return encoder.encoder if isinstance(encoder, Spread) else encoder


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace gradients by their mean over the processes that have joined."""
    if not is_joined():
        return
    # All processes compute the same loss, so that the same parameters have gradients in each, in
    # the same order. One tensor of all gradients needs one message.
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, mean in zip(gradients, torch.split(flat, sizes), strict=True):
        gradient.copy_(mean.view_as(gradient))


class Spread(nn.Module):
    """Encode this process's share of the rows in training mode, and return the rows of all."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, view: Any) -> Tensor:
        """Return one representation a row of ``view``, the same on every process."""
        if not self.training:
            rows: Tensor = self.encoder(view)
            return rows
        sizes = _shares(view, dist.get_world_size())
        start = sum(sizes[: dist.get_rank()])
        share = _rows(view, start, start + sizes[dist.get_rank()])
        # All ranks draw the same base seed; add the rank so that dropout masks differ.
        base = int(torch.randint(2**62, (1,)))
        devices = [torch.cuda.current_device()] if dist.get_backend() == "nccl" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(base + dist.get_rank())
            encoded = self.encoder(share)
        gathered: Tensor = _Gather.apply(encoded, sizes)  # type: ignore[no-untyped-call]
        return gathered


class _Gather(torch.autograd.Function):
    """Gather the rows of all processes; give each row's gradient to the process that made it.

    Every process computes the same loss of all rows, so its gradient of its own rows is
    complete. The mean over processes will divide it by their number, so multiply by that.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: Sequence[int]) -> Tensor:
        ctx.sizes = sizes
        # all_gather needs equal shapes, and shares may differ by a row.
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        gathered = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(gathered, padded)
        return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return torch.split(gradients[0], ctx.sizes)[dist.get_rank()] * len(ctx.sizes), None


def _shares(view: Any, parts: int) -> list[int]:
    """Return how many rows each process encodes.

    Raises:
        InputError: if a view is not made of rows, or has fewer rows than there are processes.
    """
    lengths = {len(tensor) for tensor in _tensors(view) if not tensor.is_sparse}
    require(
        len(lengths) == 1 and not any(tensor.is_sparse for tensor in _tensors(view)),
        "A view must be made of tensors with one row per example, to be shared by several "
        f"processes: got {type(view).__name__}. Use one process for graphs.",
    )
    (rows,) = lengths
    require(
        rows >= parts,
        f"`batch_size` must be at least the number of processes: got {rows} for {parts}.",
    )
    return [len(part) for part in torch.arange(rows).tensor_split(parts)]


def _tensors(view: Any) -> list[Tensor]:
    if isinstance(view, Tensor):
        return [view]
    if isinstance(view, Mapping):
        view = list(view.values())
    if isinstance(view, tuple | list):
        return [tensor for item in view for tensor in _tensors(item)]
    raise InputError(
        f"A view must be made of tensors to be shared by several processes: got "
        f"{type(view).__name__}. Use one process."
    )


def _rows(view: Any, start: int, end: int) -> Any:
    if isinstance(view, Tensor):
        return view[start:end]
    if isinstance(view, Mapping):
        return {name: _rows(item, start, end) for name, item in view.items()}
    parts = [_rows(item, start, end) for item in view]
    return type(view)(*parts) if hasattr(view, "_fields") else type(view)(parts)
