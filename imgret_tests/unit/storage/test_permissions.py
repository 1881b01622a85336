"""Who may read and write what imgret makes."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgret_assets.domain.storage import atomic_files, permissions, sqlite
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.settings import load_settings


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """Start with an umask that takes nothing away, and restore that of the tests."""
    before = os.umask(0)
    yield
    os.umask(before)


def made_home(path: Path, readable_by: str | None = None) -> Home:
    home = open_home(load_settings({"home": path, "readable_by": readable_by}))
    atomic_files.write_json(home.warehouse / "table.json", {})
    with sqlite.transaction(home.work / "some.sqlite", ["CREATE TABLE t (x)"]):
        pass
    (home.path / "folder").mkdir()
    return home


def modes(home: Home) -> tuple[set[int], set[int]]:
    """Return the permissions of all folders, and those of all files."""
    entries = {path: stat.S_IMODE(path.stat().st_mode) for path in (home.path, *home.path.rglob("*"))}
    return (
        {mode for path, mode in entries.items() if path.is_dir()},
        {mode for path, mode in entries.items() if not path.is_dir()},
    )


@pytest.mark.parametrize(
    ("readable_by", "folders", "files"),
    [(None, 0o700, 0o600), ("owner", 0o700, 0o600), ("group", 0o750, 0o640), ("all", 0o755, 0o644)],
)
def test_a_home_is_readable_as_set_and_writable_by_its_owner(
    readable_by: str | None, folders: int, files: int, tmp_path: Path
) -> None:
    assert modes(made_home(tmp_path / "home", readable_by)) == ({folders}, {files})


def test_a_file_that_the_user_asked_for_has_the_permissions_of_the_users_umask(tmp_path: Path) -> None:
    permissions.restrict("owner")
    with permissions.users_umask():
        atomic_files.write_json(tmp_path / "exported.json", {})
    atomic_files.write_json(tmp_path / "kept.json", {})
    assert stat.S_IMODE((tmp_path / "kept.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "exported.json").stat().st_mode) & 0o600 == 0o600


def test_the_umask_is_restored_after_an_error() -> None:
    permissions.restrict("owner")
    with pytest.raises(ValueError, match="bad"), permissions.users_umask():
        raise ValueError("bad")
    assert os.umask(0) == 0o077
