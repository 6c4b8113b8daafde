"""Measure time, without that in which the process was stopped, such as by SIGSTOP or by Slurm.

The system does not tell a process how long it was stopped. Therefore a thread reads the clock
regularly. If no thread has read it for some seconds, and the process has used hardly any
processor time meanwhile, the clock takes this time for a stop, and leaves it out. A long
computation is no stop, because it uses the processor. A wait that also holds up Python's other
threads, such as for a page of a mapped file on a slow disk, is taken for a stop, wrongly.
"""

import threading
import time

READ_EVERY = 1.0
"""Seconds between two readings of the thread that watches for stops."""
LATE = 3.0
"""If two readings are more seconds apart than this, the process may have been stopped."""
IDLE = 0.05
"""It was stopped if it used less than this share of one processor between the two readings."""


class Clock:
    """Count seconds from an arbitrary start.

    After a call of :meth:`watch`, the time in which the process was stopped does not count.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = 0.0
        self._last: tuple[float, float] | None = None

    def watch(self) -> None:
        """Begin to notice stops.

        From now on, a thread must call :meth:`seconds` every ``READ_EVERY`` seconds.
        """
        self._last = time.perf_counter(), time.process_time()

    def seconds(self) -> float:
        """Return the seconds since the start, without the stops that were noticed."""
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
