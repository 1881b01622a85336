import errno
import json
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from imgret_assets.domain.storage import atomic_files
from imgret_assets.errors import DiskFullError, HomeError


def write_and_fail(target: Path, problem: BaseException) -> NoReturn:
    with atomic_files.replacing(target) as temporary:
        temporary.write_text("half")
        raise problem


def test_a_new_file_appears_whole_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "made" / "on" / "the" / "way" / "table"
    with atomic_files.replacing(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.name.startswith(".")
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("problem", [ValueError("bad row"), KeyboardInterrupt()])
def test_whatever_ends_the_block_leaves_the_old_file_alone(tmp_path: Path, problem: BaseException) -> None:
    target = tmp_path / "table"
    target.write_text("old")
    with pytest.raises(type(problem)):
        write_and_fail(target, problem)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "table"
    left_over: list[Path] = []
    with atomic_files.replacing(target) as temporary:
        left_over.append(temporary)
        temporary.write_text("first")
    left_over[0].write_text("torn, and longer than what comes")
    with atomic_files.replacing(target) as temporary:
        assert temporary.stat().st_size == 0
        temporary.write_text("second")
    assert target.read_text() == "second"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.ENOSPC, DiskFullError, "No room on the disk for .*table; the previous table is intact.*free some space"),
        (errno.EDQUOT, DiskFullError, "No room on the disk"),
        (errno.EROFS, HomeError, "can't be written .*make IMGRET_HOME writable"),
        (errno.EACCES, HomeError, "can't be written"),
        (errno.EIO, OSError, "something else"),
    ],
)
def test_failures_of_the_disk_get_their_names(tmp_path: Path, number: int, kind: type[Exception], message: str) -> None:
    target = tmp_path / "table"
    target.write_text("old")
    with pytest.raises(kind, match=message):
        write_and_fail(target, OSError(number, "something else"))
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_disk_that_fills_at_the_sync_is_noticed_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems report a full disk only then."""
    target = tmp_path / "table"
    target.write_text("old")

    def full(_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_files.os, "fsync", full)
    with pytest.raises(DiskFullError, match="No room"), atomic_files.replacing(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "old"


def test_a_secret_is_never_readable_for_others(tmp_path: Path) -> None:
    target = tmp_path / "login"
    with atomic_files.replacing(target, mode=0o600) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        temporary.write_text("secret")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_json_is_read_back_as_written(tmp_path: Path) -> None:
    value = {"root": "/pictures/Zürich \n", "shards": 16, "model": None}
    atomic_files.write_json(tmp_path / "record.json", value)
    assert json.loads((tmp_path / "record.json").read_text(encoding="utf-8")) == value


def test_named_errors_lets_other_failures_through(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"No room on the disk for .*x"), atomic_files.named_errors(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(IsADirectoryError), atomic_files.named_errors(tmp_path / "x"):
        raise IsADirectoryError(errno.EISDIR, "a folder")
