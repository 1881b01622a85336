"""Lock files of living processes: held for a process's life, free after its end, however it ends."""

import os
import signal
from pathlib import Path

import pytest

from imgret_assets.domain.storage import process_locks
from imgret_assets.errors import HomeError
from imgret_tests.support.processes import Process

HOLD = """
from pathlib import Path
from imgret_assets.domain.storage import process_locks
say(process_locks.hold_until_exit(Path(sys.argv[1])))
wait()
"""
# Forks a child that outlives it, as a pool of worker processes may. The child speaks first: until it has begun, it has
# not closed the lock's file yet.
FORK = """
import os, time
from pathlib import Path
from imgret_assets.domain.storage import process_locks
key = process_locks.hold_until_exit(Path(sys.argv[1]))
begun, begin = os.pipe()
child = os.fork()
if child == 0:
    sys.stdin.close()
    os.write(begin, b".")
    time.sleep(60)
os.read(begun, 1)
say(key)
say(str(child))
wait()
"""


def test_the_lock_is_held_until_the_process_is_killed(tmp_path: Path) -> None:
    with Process(HOLD, [tmp_path]) as process:
        key = process.hear()
        assert not process_locks.is_dead(tmp_path, key)
        process_locks.remove_dead(tmp_path)
        assert not process_locks.is_dead(tmp_path, key)
        process.kill()
        assert process_locks.is_dead(tmp_path, key)
        process_locks.remove_dead(tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_the_own_process_lives_and_keeps_its_key(tmp_path: Path) -> None:
    key = process_locks.hold_until_exit(tmp_path)
    assert process_locks.hold_until_exit(tmp_path) == key
    assert not process_locks.is_dead(tmp_path, key)
    assert process_locks.hold_until_exit(tmp_path / "another") != key


def test_a_missing_file_is_one_of_a_dead_process(tmp_path: Path) -> None:
    assert process_locks.is_dead(tmp_path, "0123")


def test_a_removed_file_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    key = process_locks.hold_until_exit(tmp_path)
    (tmp_path / f"{key}.lock").unlink()
    new_key = process_locks.hold_until_exit(tmp_path)
    assert new_key != key
    assert not process_locks.is_dead(tmp_path, new_key)


def test_a_forked_child_does_not_keep_the_lock_of_its_parent(tmp_path: Path) -> None:
    with Process(FORK, [tmp_path]) as process:
        key, child = process.hear(), int(process.hear())
        try:
            assert not process_locks.is_dead(tmp_path, key)
            process.popen.kill()
            process.popen.wait()
            assert process_locks.is_dead(tmp_path, key)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(HomeError, match=r"processes can't be written"):
        process_locks.hold_until_exit(tmp_path / "processes")
