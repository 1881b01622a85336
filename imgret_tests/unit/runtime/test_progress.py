"""Rates, remaining times, and who is told."""

import pytest

from imgret_assets.domain.runtime import progress
from imgret_assets.domain.runtime.progress import Progress, duration, shown_by, told_to


def test_rate_and_time_to_go() -> None:
    half = Progress("images", 1_000, 3_000, 10.0)
    assert (half.per_second, half.remaining_s) == (100.0, 20.0)
    assert half.line == "1,000 of 3,000 images, 100.0 a second, 20 s to go"


def test_before_anything_is_done_nothing_is_promised() -> None:
    assert Progress("images", 0, 10, 0.0).remaining_s is None
    assert Progress("images", 0, 10, 5.0).line == "0 of 10 images, 0.0 a second"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (266, "4 min 26 s"), (11_100, "3 h 5 min")],
)
def test_times_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines: list[str] = []
    tell = told_to(lines.append, every_s=15)
    for second in range(40):
        now = 100.0 + second
        tell(Progress("images", second, 40, float(second)))
    assert [line.split(" of")[0] for line in lines] == ["15", "30"]


def test_a_named_listener_is_told_instead_of_the_log() -> None:
    told: list[Progress] = []
    with shown_by(told.append):
        tell = told_to(lambda _: pytest.fail("the log was told"), every_s=0)
        tell(Progress("images", 1, 2, 1.0))
    assert [one.done for one in told] == [1]
    lines: list[str] = []
    told_to(lines.append, every_s=0)(Progress("images", 1, 2, 1.0))
    assert len(lines) == 1
