"""Tests of the line for an error that nothing has turned into a named one."""

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

import pytest

from imgret_assets.cli.support.unexpected_errors import as_named_error
from imgret_assets.errors import DiskFullError


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/srv/home/home.json")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_file_that_can_not_be_written_is_named(number: int) -> None:
    named = as_named_error(os_error(number))
    assert named.found == f"/srv/home/home.json can't be read or written ({os.strerror(number)})"
    assert "permissions" in named.remedy


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named(number: int) -> None:
    named = as_named_error(os_error(number))
    assert isinstance(named, DiskFullError)
    assert "free some space" in named.remedy


def test_the_error_behind_a_library_s_error_counts(temporary_files: Path) -> None:
    class LibraryError(Exception):
        def __init__(self, original: Exception) -> None:
            self.orig = original
            super().__init__("40 lines of SQL")

    named = as_named_error(LibraryError(sqlite3.OperationalError("attempt to write a readonly database")))
    assert named.found == "A database file of the home can't be used (attempt to write a readonly database)"
    (log,) = temporary_files.iterdir()
    assert "40 lines of SQL" in log.read_text()
    assert str(log) in named.remedy


def test_without_space_for_the_traceback_the_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    assert "the traceback could not be stored" in as_named_error(ValueError("a bug")).remedy
