"""Verification of whole tables, and removal of damaged ones, so that the run that needs them makes them again.

Belongs here: which files are read in full, and when; the removal. Not here: the checks within a file
(`domain.storage.checked_parquet`), making a table.

A run reads a table in full when the table was written since it was last verified, when a reader has met damage in it,
and once in `VERIFIED_FOR_S`, because bits of a disk change without a trace. Tables hold nothing that can't be computed
again. The callers hold the locks of the files.
"""

import json
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from imgret_assets.domain.storage import atomic_files, tables
from imgret_assets.domain.storage.checked_parquet import damage_mark
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImgretError, TableError

VERIFIED_FOR_S = 7 * 24 * 3600.0
_BATCH_ROWS = 1 << 14

_log = logging.getLogger(__name__)


def discard_damaged(home: Home, files: Iterable[Path], *, always: bool = False) -> list[Path]:
    """Remove those of some tables that are damaged, each with a warning in the log, and return them.

    Args:
        home: the home.
        files: tables that the caller makes again where they are missing.
        always: verify also what was verified lately.
    """
    damaged = find_damaged(home, files, always=always)
    for path, error in damaged:
        _log.warning("%s It is removed and made again.", error.found.rstrip(".") + ".")
        path.unlink(missing_ok=True)
        damage_mark(path).unlink(missing_ok=True)
    return [path for path, _ in damaged]


def find_damaged(home: Home, files: Iterable[Path], *, always: bool = False) -> list[tuple[Path, TableError]]:
    """Read tables in full that were not verified lately; return the damaged ones, each with what is wrong.

    Args:
        home: the home.
        files: the tables; missing ones are left out.
        always: verify also what was verified lately.
    """
    record = _read_record(home)
    verified, damaged = dict(record), list[tuple[Path, TableError]]()
    for path in files:
        key = str(path.relative_to(home.path))
        try:
            status = path.stat()
        except FileNotFoundError:
            verified.pop(key, None)
            continue
        stamp = [status.st_size, status.st_mtime_ns]
        entry = record.get(key)
        if not always and _is_recent(entry, stamp) and not damage_mark(path).exists():
            continue
        try:
            _read_all(path)
            # A mark that can't be removed costs another look: no reason to fail where a home is only read.
            with suppress(OSError):
                damage_mark(path).unlink(missing_ok=True)
            verified[key] = [*stamp, time.time()]
        except TableError as error:
            verified.pop(key, None)
            damaged.append((path, error))
    if verified != record:
        # Without the record they are only verified again: no reason to fail.
        with suppress(OSError, ImgretError):
            atomic_files.write_json(_record_path(home), verified)
    return damaged


def _read_all(path: Path) -> None:
    with tables.open_parquet(path) as file:
        if "embedding" in file.schema_arrow.names:
            # Vectors are read six times as fast by groups of rows, which are small in these tables.
            for group in range(file.num_row_groups):
                file.read_row_group(group)
            return
        for _ in file.iter_batches(_BATCH_ROWS):
            pass


def _is_recent(entry: Any, stamp: list[int]) -> bool:
    if not (isinstance(entry, list) and entry[:2] == stamp and len(entry) == 3):
        return False
    return isinstance(entry[2], float) and 0 <= time.time() - entry[2] < VERIFIED_FOR_S


def _record_path(home: Home) -> Path:
    return home.work / "verified.json"


def _read_record(home: Home) -> dict[str, Any]:
    """Read the record; empty where it is missing or damaged: everything is verified again."""
    try:
        record = json.loads(_record_path(home).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
