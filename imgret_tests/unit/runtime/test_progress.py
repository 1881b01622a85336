"""Progress of long work: rates, remaining times, where it is reported."""

import pytest

from imgret_assets.domain.runtime import progress
from imgret_assets.domain.runtime.progress import Progress, duration, progress_listener, send_progress_to


def test_rate_and_remaining_time() -> None:
    third = Progress("images", 1_000, 3_000, 10.0)
    assert (third.per_second, third.remaining_s) == (100.0, 20.0)
    assert third.line == "1,000 of 3,000 images, 100.0 a second, 20 s to go"


def test_without_a_rate_there_is_no_remaining_time() -> None:
    assert Progress("images", 0, 10, 0.0).remaining_s is None
    assert Progress("images", 0, 10, 5.0).line == "0 of 10 images, 0.0 a second"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (266, "4 min 26 s"), (11_100, "3 h 5 min")],
)
def test_durations_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_line_is_logged_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines: list[str] = []
    listener = progress_listener(lines.append, every_s=15)
    for second in range(40):
        now = 100.0 + second
        listener(Progress("images", second, 40, float(second)))
    assert [line.split(" of")[0] for line in lines] == ["15", "30"]


def test_a_listener_replaces_the_log_within_its_block() -> None:
    received: list[Progress] = []
    with send_progress_to(received.append):
        listener = progress_listener(lambda _: pytest.fail("a line was logged"), every_s=0)
        listener(Progress("images", 1, 2, 1.0))
    assert [step.done for step in received] == [1]
    lines: list[str] = []
    progress_listener(lines.append, every_s=0)(Progress("images", 1, 2, 1.0))
    assert len(lines) == 1
