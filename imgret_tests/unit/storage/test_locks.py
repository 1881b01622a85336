"""File locks between processes: waiting, the order of several locks, what a killed holder leaves."""

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
with locks.hold(Path(sys.argv[1]), sys.argv[2:], timeout_s=30, purpose="embedding images"):
    say("holds")
    wait()
say("released")
wait()
"""


def take(folder: Path, *names: str, timeout_s: float = 0.0) -> bool:
    """Take the locks and release them at once."""
    with locks.hold(folder, names, timeout_s=timeout_s, purpose="a test"):
        return True


def test_a_lock_of_another_process_is_an_error_that_names_the_holder(tmp_path: Path) -> None:
    with Process(HOLD, [tmp_path, "shard-00"]) as holder:
        assert holder.hear() == "holds"
        message = rf"shard-00 is held by process {holder.popen.pid} \(-c, embedding images, for \d+ s\).* within 0\.2 s"
        with pytest.raises(LockTimeoutError, match=message + ".*raise IMGRET_LOCK_TIMEOUT_S"):
            take(tmp_path, "shard-00", timeout_s=0.2)


def test_a_waiting_process_gets_the_lock_when_it_is_released(tmp_path: Path) -> None:
    with Process(HOLD, [tmp_path, "graph"]) as holder:
        assert holder.hear() == "holds"
        with pytest.raises(LockTimeoutError, match="graph is held"):
            take(tmp_path, "graph")
        holder.go()
        assert take(tmp_path, "graph", timeout_s=30)
        assert holder.hear() == "released"


def test_a_wait_is_logged_once_with_the_holder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Process(HOLD, [tmp_path, "graph"]) as holder:
        assert holder.hear() == "holds"
        with pytest.raises(LockTimeoutError, match="graph is held"):
            take(tmp_path, "graph", timeout_s=locks.LOG_AFTER_S / 2)
        assert caplog.messages == []
        with pytest.raises(LockTimeoutError, match="graph is held"):
            take(tmp_path, "graph", timeout_s=locks.LOG_AFTER_S + 0.5)
    [message] = caplog.messages
    assert message.startswith(f"Waiting for graph, held by process {holder.popen.pid} (-c, embedding images, for ")
    assert caplog.records[0].levelno == logging.WARNING, "so that it is shown where nothing configures logging"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_waiting_process_can_be_stopped(tmp_path: Path, number: signal.Signals) -> None:
    # Signals that are ignored where the tests run, as SIGINT in a shell's background job, are ignored by children too.
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)\n" + HOLD
    )
    with locks.hold(tmp_path, ["graph"], timeout_s=0, purpose="a test"), Process(code, [tmp_path, "graph"]) as waiting:
        assert waiting.popen.stderr is not None
        assert waiting.popen.stderr.readline().startswith(f"Waiting for graph, held by process {os.getpid()} ")
        waiting.popen.send_signal(number)
        assert waiting.popen.wait(60) == -number


def test_kill_9_of_the_holder_releases_its_locks(tmp_path: Path) -> None:
    with Process(HOLD, [tmp_path, "shard-00", "graph"]) as holder:
        assert holder.hear() == "holds"
        holder.kill()
        assert take(tmp_path, "shard-00", "graph", timeout_s=5)


def test_a_lock_does_not_block_locks_of_other_names(tmp_path: Path) -> None:
    with Process(HOLD, [tmp_path, "shard-00"]) as holder:
        assert holder.hear() == "holds"
        assert take(tmp_path, "shard-01", locks.GRAPH)


def test_a_failed_attempt_releases_the_locks_it_has_taken(tmp_path: Path) -> None:
    with Process(HOLD, [tmp_path, "shard-01"]) as holder:
        assert holder.hear() == "holds"
        with pytest.raises(LockTimeoutError, match="shard-01 is held"):
            take(tmp_path, "shard-00", "shard-01", "shard-02")
        with Process(HOLD, [tmp_path, "shard-00", "shard-02"]) as second:
            assert second.hear() == "holds"


def test_overlapping_sets_in_any_order_do_not_wait_for_each_other(tmp_path: Path) -> None:
    taken = []

    def work(names: list[str]) -> None:
        for _ in range(10):
            with locks.hold(tmp_path, names, timeout_s=60, purpose="a test"):
                taken.append(names)

    threads = [threading.Thread(target=work, args=(names,)) for names in (["a", "b", "c"], ["c", "b", "a"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(taken) == 20


def test_the_timeout_is_for_all_locks_together(tmp_path: Path) -> None:
    with Process(HOLD, [tmp_path, "b"]) as holder:
        assert holder.hear() == "holds"
        started = time.monotonic()
        with pytest.raises(LockTimeoutError, match="b is held"):
            take(tmp_path, "a", "b", "c", timeout_s=0.3)
        assert 0.3 <= time.monotonic() - started < 10


def test_a_repeated_name_is_one_lock(tmp_path: Path) -> None:
    assert take(tmp_path, "graph", "graph")


def test_a_failure_in_the_block_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), locks.hold(tmp_path, ["a"], timeout_s=0, purpose="x"):
        raise ValueError("inside")
    assert take(tmp_path, "a")


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', "[]"])
def test_a_damaged_holder_file_only_costs_the_holder_s_name(tmp_path: Path, text: str) -> None:
    with Process(HOLD, [tmp_path, "graph"]) as holder:
        assert holder.hear() == "holds"
        (tmp_path / "graph.holder").write_text(text)
        with pytest.raises(LockTimeoutError, match="graph is held by another process"):
            take(tmp_path, "graph")


def test_a_full_disk_does_not_prevent_taking_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run then stops at its first table, with the one message that has the remedy."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert take(tmp_path, "graph")
    assert not (tmp_path / "graph.holder").exists()


def test_a_disk_without_room_for_the_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(DiskFullError, match="No room on the disk"):
        take(tmp_path / "locks", "graph")


SHARE = """
from pathlib import Path
from imgret_assets.domain.storage import locks
with locks.share(Path(sys.argv[1]), "layout", timeout_s=30, purpose="refreshing"):
    say("shares")
    wait()
say("released")
wait()
"""


def share(folder: Path, timeout_s: float = 0.0) -> bool:
    with locks.share(folder, "layout", timeout_s=timeout_s, purpose="a test"):
        return True


def test_several_share_a_lock_and_who_wants_it_alone_waits_for_all(tmp_path: Path) -> None:
    with Process(SHARE, [tmp_path]) as sharing:
        assert sharing.hear() == "shares"
        with locks.share(tmp_path, "layout", timeout_s=0, purpose="a test"):
            assert share(tmp_path)
            with pytest.raises(LockTimeoutError, match="layout is held by process"):
                take(tmp_path, "layout")
        with pytest.raises(LockTimeoutError, match=r"layout is held by process \d+ .*not freed within 0\.2 s"):
            take(tmp_path, "layout", timeout_s=0.2)
        sharing.go()
        assert sharing.hear() == "released"
        assert take(tmp_path, "layout", timeout_s=5)


def test_a_lock_that_somebody_holds_alone_is_not_shared(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Process(HOLD, [tmp_path, "layout"]) as holder:
        assert holder.hear() == "holds"
        with pytest.raises(LockTimeoutError, match=rf"layout is held by process {holder.popen.pid} .* within 1\.3 s"):
            share(tmp_path, locks.LOG_AFTER_S + 0.3)
        [message] = caplog.messages
        assert message.startswith(f"Waiting for layout, held by process {holder.popen.pid} (-c, embedding images, for ")
        holder.go()
        assert share(tmp_path, 30)


def test_a_killed_process_shares_no_longer(tmp_path: Path) -> None:
    with Process(SHARE, [tmp_path]) as sharing:
        assert sharing.hear() == "shares"
        sharing.kill()
        assert take(tmp_path, "layout", timeout_s=5)
