"""The line that a command prints for an error without a message of its own, and the file that holds the rest.

Belongs here: errors of the operating system, of SQLite and of libraries that nothing has turned into a named error, as
the last resort. Not here: named errors (`errors`), exit codes (`cli.main`).
"""

import errno
import os
import sqlite3
import tempfile
import time
import traceback
from typing import TypeVar

from imgret_assets.errors import DiskFullError, ImgretError, error_chain, first_line

_Error = TypeVar("_Error", bound=Exception)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def as_named_error(error: Exception) -> ImgretError:
    """Return a named error for any other one; its traceback goes to a file that the message names."""
    log = _write_traceback(error)
    more = f"the traceback is in {log}" if log else "the traceback could not be stored"
    system_error = _cause(error, OSError)
    if system_error is not None:
        return _of_system(system_error, more)
    if (database_error := _cause(error, sqlite3.Error)) is not None:
        return ImgretError(
            f"A database file of the home can't be used ({first_line(database_error)})",
            remedy=f"check that the disk has space and that this user may write the home; {more}",
        )
    summary = f"{type(error).__name__}: {first_line(error)}" if first_line(error) else type(error).__name__
    return ImgretError(
        f"An unexpected error ended the command ({summary})",
        remedy=f"run it again; if it ends again, report it: {more}",
    )


def _of_system(error: OSError, more: str) -> ImgretError:
    reason = error.strerror or first_line(error) or type(error).__name__
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    files = " -> ".join(names)
    if error.errno in _FULL:
        return DiskFullError(
            f"The disk has no room for {files or 'a file'} ({reason})",
            remedy=f"free some space, for example with `imgret gc`, and run the command again; {more}",
        )
    if error.errno in _DENIED:
        return ImgretError(
            f"{files or 'A file'} can't be read or written ({reason})",
            expected="a folder that this user may write",
            remedy=f"change its owner or permissions, or choose another folder, for example by IMGRET_HOME; {more}",
        )
    return ImgretError(f"{files or type(error).__name__}: {reason}", remedy=f"correct the path; {more}")


def _cause(error: BaseException, kind: type[_Error]) -> _Error | None:
    """Return the error or the one behind it that is of a kind."""
    # `user_exception` is Dagster's, `orig` SQLAlchemy's.
    chain = error_chain(error, "user_exception", "orig", "__cause__")
    return next((each for each in chain if isinstance(each, kind)), None)


def _write_traceback(error: Exception) -> str | None:
    """Write the traceback to a file of the folder for temporary files that only this user can read."""
    name = time.strftime("imgret-error-%Y%m%d-%H%M%S-")
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix=name, suffix=".log", delete=False) as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return None
    return file.name
