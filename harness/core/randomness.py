"""Named generators, which supply every random number of a cell.

A stream is keyed by (task, training data, seed, stream), and not by loss, method or
settings. Cells that differ in loss, method, temperature or number of steps therefore
start from the same weights, as far as shapes agree, and see the same batches, views
and dropout masks for as long as they train. A stream is counter-based: each step is
seeded anew from the key and the step's number. A continued cell needs no generator
state, and a step can be replayed alone.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch

from harness.core.errors import require_choice

STREAMS = ("split", "init", "order", "views", "further", "dropout", "probe")
"""The streams; ``further`` serves views beyond the first two, which must not depend on it."""
ENCODER, HEAD, METHOD = range(3)
"""Steps of the stream ``init``, one for each network: the size of one network must not change the
weights of another."""


@dataclass(frozen=True)
class Randomness:
    """Give the generators of one (task, training data, seed).

    Attributes:
        task: the task's name, without settings.
        data: the checksum of the training data; empty for generated data.
        seed_number: the seed.

    >>> one, other = Randomness("images", "71b95", 0), Randomness("images", "71b95", 0)
    >>> one.seed("views", 3) == other.seed("views", 3)
    True
    >>> one.seed("views", 3) == one.seed("views", 4)
    False
    """

    task: str
    data: str
    seed_number: int

    def seed(self, stream: str, step: int = 0) -> int:
        """Return the 63-bit seed of ``stream`` at ``step``.

        Raises:
            InputError: if there is no such stream.
        """
        require_choice("stream", stream, STREAMS)
        key = "\0".join((self.task, self.data, str(self.seed_number), stream, str(step)))
        return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") >> 1  # 63 bits.

    def torch(self, stream: str, step: int = 0) -> torch.Generator:
        """Return a fresh CPU generator of ``stream`` at ``step``."""
        return torch.Generator().manual_seed(self.seed(stream, step))

    def numpy(self, stream: str, step: int = 0) -> np.random.Generator:
        """Return a fresh NumPy generator of ``stream`` at ``step``."""
        return np.random.default_rng(self.seed(stream, step))

    @contextmanager
    def seeded(self, stream: str, step: int = 0) -> Iterator[None]:
        """Seed the global generators inside the block, and restore them after it.

        kornia, PyG and dropout draw from torch's global generators; Python's and
        NumPy's are seeded as well, for the views of third parties.
        """
        seed = self.seed(stream, step)
        python_state, numpy_state = random.getstate(), np.random.get_state()
        with torch.random.fork_rng(_devices_in_use()):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # The global generator takes 32 bits.
            try:
                yield
            finally:
                random.setstate(python_state)
                np.random.set_state(numpy_state)


def _devices_in_use() -> list[int]:
    """Return this process's GPU, if CUDA is initialised: other GPUs must not be initialised."""
    in_use: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return [torch.cuda.current_device()] if in_use else []
