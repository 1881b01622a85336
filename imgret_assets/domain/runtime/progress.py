"""Progress of long work: rate, remaining time, and where it is reported.

Belongs here: the figures, the choice between a listener and the log. Not here: progress bars
(`cli.support.progress_bar`).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

# Seconds between two lines in a log.
LOG_EVERY_S = 15.0


@dataclass(frozen=True)
class Progress:
    """How much of some work is done.

    Attributes:
        unit: the things that are processed, in the plural, such as `images`.
        done, total: numbers of them; `done` rises to `total`.
        seconds: since the work began.
    """

    unit: str
    done: int
    total: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Rate so far; 0 before any time has passed."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Remaining seconds at the rate so far; None before there is a rate."""
        return (self.total - self.done) / self.per_second if self.per_second else None

    @property
    def line(self) -> str:
        """All figures in one line, such as `1,024 of 20,000 images, 71.3 a second, 4 min 26 s to go`."""
        remaining_s = self.remaining_s
        to_go = "" if remaining_s is None else f", {duration(remaining_s)} to go"
        return f"{self.done:,} of {self.total:,} {self.unit}, {self.per_second:,.1f} a second{to_go}"


Listener = Callable[[Progress], None]
_listener: ContextVar[Listener | None] = ContextVar("imgret_progress", default=None)


@contextmanager
def send_progress_to(listener: Listener) -> Iterator[None]:
    """Send progress to `listener` instead of the log, for the length of the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def progress_listener(log: Callable[[str], None], *, every_s: float = LOG_EVERY_S) -> Listener:
    """Return the listener that `send_progress_to` has set, else one that logs a line every `every_s` seconds."""
    listener = _listener.get()
    if listener is not None:
        return listener
    last_logged = time.monotonic()

    def log_sometimes(progress: Progress) -> None:
        nonlocal last_logged
        if time.monotonic() - last_logged >= every_s:
            last_logged = time.monotonic()
            log(progress.line)

    return log_sometimes


def duration(seconds: float) -> str:
    """Return a duration for people: `48 s`, `4 min 26 s`, `3 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
