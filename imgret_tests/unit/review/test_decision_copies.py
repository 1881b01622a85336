"""The daily copies of the file of decisions: written with it, compared with it, named as its remedy."""

import re
import shlex
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from imgret_assets.domain.review import decision_copies
from imgret_assets.domain.review.decision_copies import copies_folder, list_copies
from imgret_assets.domain.review.decision_log import (
    DecisionReader,
    decisions_path,
    read_decisions,
    record,
    verify_decisions,
)
from imgret_assets.domain.review.decisions import Decisions, File, keep_all
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import HomeError

FILES = [File(f"{number}.png", f"{number:064x}") for number in range(20)]


def decide(home: Home, number: int) -> None:
    record(home, [keep_all(FILES[number : number + 2])])


def read_as_another_process(home: Home) -> Decisions:
    return DecisionReader(decisions_path(home)).read()[0]


class Clock:
    """A clock that a test sets; stands for `datetime` in the module."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 9, tzinfo=UTC)

    def now(self, zone: Any) -> datetime:
        return self.time.astimezone(zone)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(decision_copies, "datetime", clock)
    return clock


def run_remedy(message: str) -> None:
    """Run the command that a message names."""
    [command] = re.findall(r"`(cp [^`]*)`", message)
    subprocess.run(shlex.split(command), check=True)


def test_the_copy_of_today_has_every_decision(home: Home) -> None:
    for number in range(3):
        decide(home, number)
        [copy] = list_copies(decisions_path(home))
        assert copy.read_bytes() == decisions_path(home).read_bytes()


def test_the_last_seven_days_with_decisions_are_kept(home: Home, clock: Clock) -> None:
    contents = []
    for day in range(0, 20, 2):
        clock.time = datetime(2026, 3, 1, 9, tzinfo=UTC) + timedelta(days=day)
        decide(home, day // 2)
        contents.append(decisions_path(home).read_bytes())
    copies = list_copies(decisions_path(home))
    assert [copy.stem for copy in copies] == [f"2026-03-{day:02d}" for day in range(19, 5, -2)]
    assert [copy.read_bytes() for copy in copies] == contents[:2:-1]
    assert "10 verified; copies of 2026-03-07, " in verify_decisions(home)


def test_a_file_without_checks_is_copied_with_the_next_decision(home: Home) -> None:
    decide(home, 0)
    text = re.sub(r', "previous": "\w+", "check": "\w+"', "", decisions_path(home).read_text())
    decisions_path(home).write_text(text)
    shutil.rmtree(copies_folder(decisions_path(home)))
    assert verify_decisions(home) == "1 verified, 1 of them without a check (an older imgret); no copy yet"
    decide(home, 1)
    assert read_as_another_process(home).events == read_decisions(home).events
    [copy] = list_copies(decisions_path(home))
    assert copy.read_bytes() == decisions_path(home).read_bytes()


@pytest.mark.parametrize("left_lines", [0, 1, 3])
def test_missing_lines_are_named_and_the_command_restores_them(home: Home, left_lines: int) -> None:
    for number in range(4):
        decide(home, number)
    path = decisions_path(home)
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:left_lines]))
    for read in (read_decisions, read_as_another_process, verify_decisions):
        with pytest.raises(HomeError, match=f"ends after line {left_lines}, but its copy .* has 4 lines") as caught:
            read(home)
    with pytest.raises(HomeError, match="ends after line"):
        decide(home, 5)
    run_remedy(str(caught.value))
    assert path.read_bytes() == whole
    assert len(read_decisions(home).events) == 4


def test_a_missing_file_is_named_and_the_command_restores_it(home: Home) -> None:
    decide(home, 0)
    whole = decisions_path(home).read_bytes()
    decisions_path(home).unlink()
    for read in (read_decisions, read_as_another_process, verify_decisions):
        with pytest.raises(HomeError, match=r"decisions\.jsonl is missing, but its copy") as caught:
            read(home)
    with pytest.raises(HomeError, match="is missing"):
        decide(home, 5)
    run_remedy(str(caught.value))
    assert decisions_path(home).read_bytes() == whole
    assert len(read_decisions(home).events) == 1


def test_a_changed_digit_is_named_and_the_command_restores_it(home: Home) -> None:
    for number in range(3):
        decide(home, number)
    path = decisions_path(home)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(FILES[1].sha256.encode(), FILES[9].sha256.encode(), 1))
    with pytest.raises(HomeError, match=r"Line 1 of .* is damaged \(its check does not match") as caught:
        read_as_another_process(home)
    run_remedy(str(caught.value))
    assert path.read_bytes() == whole
    assert len(read_as_another_process(home).events) == 3


def test_the_remedy_names_the_newest_copy_that_is_right(home: Home, clock: Clock) -> None:
    for day in (1, 2, 3):
        clock.time = datetime(2026, 3, day, 9, tzinfo=UTC)
        decide(home, day)
    for file in (decisions_path(home), list_copies(decisions_path(home))[0]):
        file.write_bytes(file.read_bytes().replace(FILES[1].sha256.encode(), FILES[9].sha256.encode(), 1))
    with pytest.raises(HomeError, match=r"restore its copy of 2026-03-02, which has 2 lines"):
        read_as_another_process(home)
    for copy in list_copies(decisions_path(home)):
        copy.unlink()
    with pytest.raises(HomeError, match="restore the file from a backup, or repair that line"):
        read_as_another_process(home)


def test_lines_of_an_older_imgret_that_differ_from_the_copy_are_named(home: Home) -> None:
    decide(home, 0)
    decide(home, 1)
    [copy] = list_copies(decisions_path(home))
    text = re.sub(r', "previous": "\w+", "check": "\w+"', "", decisions_path(home).read_text())
    copy.write_text(text)
    decisions_path(home).write_text(text.replace('"1.png"', '"7.png"', 1))
    with pytest.raises(HomeError, match=r"Line 1 of .* differs from that of its copy"):
        read_decisions(home)
    copy.unlink()
    assert len(read_decisions(home).events) == 2


@pytest.mark.parametrize("damage", [b"garbage\n", b"", None], ids=["garbage", "empty", "removed"])
def test_a_damaged_copy_is_written_again_with_the_next_decision(
    home: Home, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    decide(home, 0)
    [copy] = list_copies(decisions_path(home))
    copy.unlink() if damage is None else copy.write_bytes(damage)
    assert len(read_as_another_process(home).events) == 1
    assert [message for message in caplog.messages if "is damaged" in message] == caplog.messages
    assert bool(caplog.messages) == bool(damage)
    decide(home, 1)
    assert copy.read_bytes() == decisions_path(home).read_bytes()


def test_a_copy_that_can_not_be_written_does_not_fail_the_decision(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    decide(home, 0)
    [copy] = list_copies(decisions_path(home))
    copy.unlink()
    copies_folder(decisions_path(home)).rmdir()
    copies_folder(decisions_path(home)).write_text("a file in the place of the folder")
    decide(home, 1)
    assert "the decision is stored, but has no copy yet" in caplog.text
    copies_folder(decisions_path(home)).unlink()
    decide(home, 2)
    assert copy.read_bytes() == decisions_path(home).read_bytes()


def test_a_right_copy_is_never_replaced_by_a_damaged_file(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """The process has read the file before it was damaged, and its end is whole."""
    for number in range(5):
        decide(home, number)
    [copy] = list_copies(decisions_path(home))
    whole = copy.read_bytes()
    with decisions_path(home).open("r+b") as file:
        file.write(b"damaged")
    decide(home, 6)
    assert copy.read_bytes() == whole
    assert "has no copy yet" in caplog.text
    with pytest.raises(HomeError, match="Line 1 "):
        verify_decisions(home)


def test_on_a_new_day_the_whole_file_is_verified_before_it_is_written(home: Home, clock: Clock) -> None:
    for number in range(5):
        decide(home, number)
    with decisions_path(home).open("r+b") as file:
        file.write(b"damaged")
    before = decisions_path(home).read_bytes()
    clock.time += timedelta(days=1)
    with pytest.raises(HomeError, match="Line 1 "):
        decide(home, 6)
    assert decisions_path(home).read_bytes() == before
    assert Path(list_copies(decisions_path(home))[0]).stem == "2026-03-01"
