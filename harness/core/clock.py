"""A clock that stands still while its process is stopped, such as by SIGSTOP or by Slurm.

The system does not tell a process how long it was stopped. Therefore a thread reads the clock
every second. If no thread has read it for some seconds, and the process has used hardly any
processor time meanwhile, the clock takes this time for a stop, and leaves it out. A long
computation is no stop, because it uses the processor. A wait that also holds up Python's other
threads, such as for a page of a mapped file on a slow disk, is taken for a stop, wrongly.
"""

import threading
import time

READ_EVERY = 1.0
"""Seconds between two readings of the thread that watches for stops."""
LATE = 3.0
"""Seconds between two readings above which the process may have been stopped."""
IDLE = 0.05
"""The share of this time that a stopped process has at most used of a processor."""


class Clock:
    """A clock in seconds from an arbitrary start; it leaves out stops after :meth:`watch`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = 0.0
        self._last: tuple[float, float] | None = None

    def watch(self) -> None:
        """Leave out stops from now on; a thread must call :meth:`seconds` every ``READ_EVERY``."""
        self._last = time.perf_counter(), time.process_time()

    def seconds(self) -> float:
        """Return the time in seconds, without stops."""
        with self._lock:
            now, used = time.perf_counter(), time.process_time()
            if self._last is not None:
                gap = now - self._last[0]
                if gap > LATE and used - self._last[1] < IDLE * gap:
                    self._stopped += gap
                self._last = now, used
            return now - self._stopped


CLOCK = Clock()
"""The clock of this process, with which a cell's seconds are measured."""
