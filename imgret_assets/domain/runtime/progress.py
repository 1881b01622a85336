"""How far a long piece of work has come, for whoever wants to show it.

Belongs here: rate and remaining time, a listener for the length of a block. Not here: bars and log lines themselves.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

# Between two lines in a log.
LOG_EVERY_S = 15.0


@dataclass(frozen=True)
class Progress:
    """How far it has come.

    Attributes:
        what: the things that are done, such as `images`.
        done, total: of them; done goes up to total.
        seconds: since the work began.
    """

    what: str
    done: int
    total: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Rate so far; 0 before anything is done."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Seconds still to go at the rate so far; None before there is one."""
        return (self.total - self.done) / self.per_second if self.per_second else None

    @property
    def line(self) -> str:
        """All of it in words, such as `1,024 of 20,000 images, 71.3 a second, 4 min 26 s to go`."""
        left = self.remaining_s
        to_go = "" if left is None else f", {duration(left)} to go"
        return f"{self.done:,} of {self.total:,} {self.what}, {self.per_second:,.1f} a second{to_go}"


Listener = Callable[[Progress], None]
_listener: ContextVar[Listener | None] = ContextVar("imgret_progress", default=None)


@contextmanager
def shown_by(listener: Listener) -> Iterator[None]:
    """Have progress told to `listener` instead of the log, for the length of the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def told_to(log: Callable[[str], None], *, every_s: float = LOG_EVERY_S) -> Listener:
    """A listener for a piece of work: whoever was named by `shown_by`, else a line in the log now and then."""
    named = _listener.get()
    if named is not None:
        return named
    last = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= every_s:
            last = time.monotonic()
            log(progress.line)

    return tell


def duration(seconds: float) -> str:
    """A time for people: `48 s`, `4 min 26 s`, `3 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
