"""Files that appear whole or not at all."""

import errno
import json
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from imgret_assets.domain.storage import atomic_files
from imgret_assets.errors import DiskFullError, HomeError


def write_and_fail(target: Path, error: BaseException) -> NoReturn:
    with atomic_files.replacing(target) as temporary:
        temporary.write_text("half")
        raise error


def test_a_new_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folders" / "table"
    with atomic_files.replacing(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.name.startswith(".")
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError("bad row"), KeyboardInterrupt()])
def test_a_failed_block_leaves_the_old_file_unchanged(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "table"
    target.write_text("old")
    with pytest.raises(type(error)):
        write_and_fail(target, error)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_temporary_file_of_a_killed_writer_is_removed_by_the_next_one(tmp_path: Path) -> None:
    target = tmp_path / "table"
    leftovers: list[Path] = []
    with atomic_files.replacing(target) as temporary:
        leftovers.append(temporary)
        temporary.write_text("first")
    leftovers[0].write_text("half-written, and longer than the next one")
    with atomic_files.replacing(target) as temporary:
        assert temporary.stat().st_size == 0
        temporary.write_text("second")
    assert target.read_text() == "second"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (
            errno.ENOSPC,
            DiskFullError,
            "No room on the disk for .*table; its previous content is intact.*free some space",
        ),
        (errno.EDQUOT, DiskFullError, "No room on the disk"),
        (errno.EROFS, HomeError, "can't be written .*make IMGRET_HOME writable"),
        (errno.EACCES, HomeError, "can't be written"),
        (errno.EIO, OSError, "something else"),
    ],
)
def test_failures_of_the_disk_are_named_errors(
    tmp_path: Path, number: int, kind: type[Exception], message: str
) -> None:
    target = tmp_path / "table"
    target.write_text("old")
    with pytest.raises(kind, match=message):
        write_and_fail(target, OSError(number, "something else"))
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_promises_no_earlier_content_where_there_was_none(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError) as caught:
        write_and_fail(tmp_path / "first.png", OSError(errno.ENOSPC, "full"))
    assert str(caught.value).startswith(f"No room on the disk for {tmp_path / 'first.png'}. ")


def test_a_disk_that_is_full_at_the_sync_is_noticed_before_the_rename(
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


def test_a_secret_is_never_readable_by_other_users(tmp_path: Path) -> None:
    target = tmp_path / "login"
    with atomic_files.replacing(target, mode=0o600) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        temporary.write_text("secret")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_json_is_read_back_as_written(tmp_path: Path) -> None:
    value = {"root": "/images/Zürich \n", "shards": 16, "model": None}
    atomic_files.write_json(tmp_path / "record.json", value)
    assert json.loads((tmp_path / "record.json").read_text(encoding="utf-8")) == value


def test_named_errors_passes_other_errors_unchanged(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"No room on the disk for .*x"), atomic_files.named_errors(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(IsADirectoryError), atomic_files.named_errors(tmp_path / "x"):
        raise IsADirectoryError(errno.EISDIR, "a folder")
