import logging
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from imgret_assets.domain.storage import locks
from imgret_assets.errors import DiskFullError, LockTimeoutError
from imgret_tests.support.processes import Process

HOLD = """
from pathlib import Path
from imgret_assets.domain.storage import locks
with locks.held(Path(sys.argv[1]), sys.argv[2:], timeout_s=30, purpose="embedding images"):
    say("held")
    wait()
say("freed")
wait()
"""


def take(folder: Path, *names: str, timeout_s: float = 0.0) -> None:
    with locks.held(folder, names, timeout_s=timeout_s, purpose="a test"):
        pass


def test_a_lock_held_by_another_process_is_an_error_that_names_the_holder(tmp_path: Path) -> None:
    with Process(HOLD, [tmp_path, "shard-00"]) as holder:
        assert holder.hear() == "held"
        message = rf"shard-00 is held by process {holder.popen.pid} \(-c, embedding images, for \d+ s\).* within 0\.2 s"
        with pytest.raises(LockTimeoutError, match=message + ".*raise IMGRET_LOCK_TIMEOUT_S"):
            take(tmp_path, "shard-00", timeout_s=0.2)


def test_who_waits_gets_it_as_soon_as_it_is_freed(tmp_path: Path) -> None:
    with Process(HOLD, [tmp_path, "graph"]) as holder:
        assert holder.hear() == "held"
        with pytest.raises(LockTimeoutError, match="graph is held"):
            take(tmp_path, "graph")
        holder.go()
        take(tmp_path, "graph", timeout_s=30)
        assert holder.hear() == "freed"


def test_who_waits_says_so_once_and_for_whom(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Process(HOLD, [tmp_path, "graph"]) as holder:
        assert holder.hear() == "held"
        with pytest.raises(LockTimeoutError, match="graph is held"):
            take(tmp_path, "graph", timeout_s=locks.TELL_AFTER_S / 2)
        assert caplog.messages == []
        with pytest.raises(LockTimeoutError, match="graph is held"):
            take(tmp_path, "graph", timeout_s=locks.TELL_AFTER_S + 0.5)
    [said] = caplog.messages
    assert said.startswith(f"Waiting for graph, held by process {holder.popen.pid} (-c, embedding images, for ")
    assert caplog.records[0].levelno == logging.WARNING, "so that it is shown where nothing configures logging"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_waits_can_be_stopped(tmp_path: Path, number: signal.Signals) -> None:
    with locks.held(tmp_path, ["graph"], timeout_s=0, purpose="a test"), Process(HOLD, [tmp_path, "graph"]) as waiting:
        assert waiting.popen.stderr is not None
        assert waiting.popen.stderr.readline().startswith(f"Waiting for graph, held by process {os.getpid()} ")
        waiting.popen.send_signal(number)
        assert waiting.popen.wait(10) == -number


def test_kill_9_of_the_holder_frees_it(tmp_path: Path) -> None:
    with Process(HOLD, [tmp_path, "shard-00", "graph"]) as holder:
        assert holder.hear() == "held"
        holder.kill()
        take(tmp_path, "shard-00", "graph", timeout_s=5)


def test_other_locks_are_free(tmp_path: Path) -> None:
    with Process(HOLD, [tmp_path, "shard-00"]) as holder:
        assert holder.hear() == "held"
        take(tmp_path, "shard-01", locks.GRAPH)


def test_a_failed_attempt_frees_what_it_had(tmp_path: Path) -> None:
    with Process(HOLD, [tmp_path, "shard-01"]) as holder:
        assert holder.hear() == "held"
        with pytest.raises(LockTimeoutError, match="shard-01 is held"):
            take(tmp_path, "shard-00", "shard-01", "shard-02")
        with Process(HOLD, [tmp_path, "shard-00", "shard-02"]) as other:
            assert other.hear() == "held"


def test_overlapping_sets_in_any_order_do_not_wait_for_each_other(tmp_path: Path) -> None:
    taken = []

    def work(names: list[str]) -> None:
        for _ in range(10):
            with locks.held(tmp_path, names, timeout_s=60, purpose="a test"):
                taken.append(names)

    threads = [threading.Thread(target=work, args=(names,)) for names in (["a", "b", "c"], ["c", "b", "a"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(taken) == 20


def test_the_time_to_wait_is_for_all_locks_together(tmp_path: Path) -> None:
    with Process(HOLD, [tmp_path, "b"]) as holder:
        assert holder.hear() == "held"
        started = time.monotonic()
        with pytest.raises(LockTimeoutError, match="b is held"):
            take(tmp_path, "a", "b", "c", timeout_s=0.3)
        assert 0.3 <= time.monotonic() - started < 10


def test_a_name_twice_is_one_lock(tmp_path: Path) -> None:
    take(tmp_path, "graph", "graph")


def test_the_block_s_own_failure_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), locks.held(tmp_path, ["a"], timeout_s=0, purpose="x"):
        raise ValueError("inside")
    take(tmp_path, "a")


@pytest.mark.parametrize("note", ["", "{", '{"pid": 1}', "[]"])
def test_a_damaged_note_about_the_holder_only_costs_its_name(tmp_path: Path, note: str) -> None:
    with Process(HOLD, [tmp_path, "graph"]) as holder:
        assert holder.hear() == "held"
        (tmp_path / "graph.holder").write_text(note)
        with pytest.raises(LockTimeoutError, match="graph is held by another process"):
            take(tmp_path, "graph")


def test_a_disk_without_room_for_the_note_does_not_stop_anyone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run then stops at its first table, with the one message that says what to do."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    take(tmp_path, "graph")


def test_a_disk_without_room_for_the_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(DiskFullError, match="No room on the disk"):
        take(tmp_path / "locks", "graph")
