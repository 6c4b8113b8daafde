"""A clock that stands still while its process is stopped, as by SIGSTOP or a scheduler.

No system tells a process how long it was stopped. A thread that reads the clock every second
shows it: when no thread has read it for a while and the process has used hardly any processor
time meanwhile, the process was stopped. A long computation is not taken for a stop, because it
uses the processor; nor is a wait during which Python can run other threads. A wait during which it
cannot, such as for a page of a mapped file on a slow disk, is.
"""

import threading
import time

BEAT = 1.0
"""Seconds between two readings of the thread that watches for stops."""
LATE = 3.0
"""Seconds without a reading after which a stop is looked for; shorter stops are counted."""
IDLE = 0.05
"""The largest share of a stop in which the process can seem to have computed."""


class Clock:
    """A clock in seconds, which starts anywhere, and counts no stops once it is watched."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = 0.0
        self._last: tuple[float, float] | None = None

    def watch(self) -> None:
        """Begin to look for stops; from now on :meth:`seconds` is to be read every ``BEAT``."""
        self._last = time.perf_counter(), time.process_time()

    def seconds(self) -> float:
        """Return the time, without the stops that were seen."""
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
