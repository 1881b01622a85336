"""Checks of the files of a converted model: what was written is what is read.

Belongs here: recording and comparing the checks. Not here: converting and compiling
(`domain.inference.converted_network`), the proof that vectors are right (`domain.inference.engine_agreement`).

A check is size and CRC-32, the fastest that finds any single changed bit: 2 GB a second, so that a query, whose process
checks the files once, hardly takes longer. It is no protection from people who can write the home.
"""

import json
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from imgret_assets.domain.storage import atomic_files
from imgret_assets.errors import ImgretError

NAME = "checks.json"
_CHUNK_BYTES = 1 << 22


def file_check(path: Path) -> list[int]:
    """Return size and CRC-32 of a file.

    Raises:
        OSError: it can't be read.
    """
    size = check = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            size += len(chunk)
            check = zlib.crc32(chunk, check)
    return [size, check]


def has_checks(folder: Path) -> bool:
    """Return whether the files of a folder have checks; those that an earlier version has written have none."""
    return bool(_read(folder))


def record_checks(folder: Path, files: Iterable[Path]) -> None:
    """Record the checks of files as they are; a home that can't be written keeps none."""
    checks = {file.name: file_check(file) for file in files}
    with suppress(ImgretError, OSError):
        atomic_files.write_json(folder / NAME, checks)


def damaged_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are missing or are not as they were recorded; empty without a record."""
    return [folder / name for name, check in _read(folder).items() if _present_check(folder / name) != check]


def remove_unchecked(folder: Path, pattern: str) -> list[Path]:
    """Remove the files that are not as they were recorded, or were not recorded; return the damaged ones of them.

    Args:
        folder: the folder.
        pattern: glob of its files.
    """
    checks = _read(folder)
    damaged: list[Path] = []
    for file in sorted(folder.glob(pattern)):
        if file.name in checks and _present_check(file) == checks[file.name]:
            continue
        damaged += [file] if file.name in checks else []
        with suppress(OSError):
            file.unlink()
    return damaged


def _present_check(path: Path) -> list[int] | None:
    try:
        return file_check(path)
    except OSError:
        return None


def _read(folder: Path) -> dict[str, Any]:
    """Read the record; empty where it is missing or damaged."""
    try:
        checks = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return checks if isinstance(checks, dict) else {}
