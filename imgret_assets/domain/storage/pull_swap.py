"""The last step of taking tables from a store: the files of another generation take the place of the home's own.

Belongs here: the folder of downloaded files, the swap, its marker, and finishing it after a killed process; the hashes
of the home's files. Not here: downloading (`domain.operations.table_store`), the store (`domain.storage.object_store`).
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home_record import HomeRecord, read_record, record_path, write_record

_MARKER = "swap.json"
_BASE = "base.json"
_HASHES = "hashes.json"
# The record is merged rather than replaced.
RECORD = "home.json"
# What each machine makes for itself, from weights that another may not have: files that are here stay as they are.
_OWN = "models/"
# What this machine's processors and devices can do.
_SPEEDS = "speeds.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Base:
    """The generation that a home's tables were taken from or committed as.

    Attributes:
        store: the store's address.
        generation: name of the generation.
        at: when it was committed, ISO 8601.
        files: SHA-256 by path in the home.
    """

    store: str
    generation: str
    at: str
    files: Mapping[str, str]


def store_folder(home: Path) -> Path:
    """Return the folder of what a home knows about its store."""
    return home / "store"


def incoming_path(home: Path, sha256: str) -> Path:
    """Return where a downloaded content waits for its swap."""
    return store_folder(home) / "incoming" / sha256


def read_base(home: Path) -> Base | None:
    """Return the base of a home's tables; None where they were neither taken nor committed, or the file is damaged."""
    try:
        return Base(**json.loads((store_folder(home) / _BASE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def has_generation(home: Path, store: str, generation: str) -> bool:
    """Return whether a home's tables were last taken from, or committed as, this generation of this store."""
    base = read_base(home)
    return base is not None and (base.store, base.generation) == (store, generation)


def write_base(home: Path, base: Base) -> None:
    """Record the base of a home's tables."""
    atomic_files.write_json(store_folder(home) / _BASE, _as_json(base))


def shared_files(home: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a home that its store holds, by their path in the home: tables, their snapshots, the record.

    Without decisions, which are merged and never replaced.
    """
    folders = [
        *((home / "warehouse").rglob("*")),
        *((home / "work" / kind) for kind in ("pairs", "nearest", "map", "report")),
        *(record for record in (home / "models").glob("*.json") if record.name != _SPEEDS),
        *((home / "models" / "centres").glob("*")),
    ]
    files = [record_path(home), *(part for folder in folders for part in _files_of(folder))]
    for file in sorted(set(files)):
        if file.is_file() and not file.name.startswith("."):
            yield file.relative_to(home).as_posix(), file


def _files_of(path: Path) -> list[Path]:
    # The files of a table's snapshot lie in the folder itself; answers of pieces lie in folders below it.
    return list(path.iterdir()) if path.is_dir() else [path]


def is_up_to_date(name: str, own: str | None, sha256: str) -> bool:
    """Return whether a home's file need not be replaced by the one of a generation.

    Args:
        name: path in the home.
        own: SHA-256 of the home's file; None where there is none.
        sha256: of the file of the generation.
    """
    return own is not None if name.startswith(_OWN) else own == sha256


class FileHashes:
    """SHA-256 of a home's files; a file is read again only if it has changed since."""

    def __init__(self, home: Path) -> None:
        self._path = store_folder(home) / _HASHES
        self._hashes: dict[str, list[object]] = {}
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
            self._hashes = stored if isinstance(stored, dict) else {}
        except (OSError, ValueError):
            pass

    def of(self, name: str, file: Path) -> str | None:
        """Return the SHA-256 of a file by its path in the home; None where it does not exist."""
        try:
            stat = file.stat()
        except FileNotFoundError:
            return None
        stamp: list[object] = [stat.st_ino, stat.st_size, stat.st_mtime_ns]
        known = self._hashes.get(name, [])
        if known[:-1] != stamp:
            with file.open("rb") as content:
                known = [*stamp, hashlib.file_digest(content, "sha256").hexdigest()]
            self._hashes[name] = known
        return str(known[-1])

    def save(self) -> None:
        """Keep the hashes for the next process."""
        atomic_files.write_json(self._path, self._hashes)


def mark_ready(home: Path, base: Base) -> None:
    """Record that all contents of a generation are there; from here on the swap is finished, never undone."""
    atomic_files.write_json(store_folder(home) / _MARKER, _as_json(base))


def is_ready(home: Path) -> bool:
    """Return True where a swap has begun or is about to."""
    return (store_folder(home) / _MARKER).is_file()


def finish_swap(home: Path) -> None:
    """Complete the swap, if one is ready.

    A killed process may have done any of the steps before; each can be repeated. The caller holds the locks of all
    tables, or has just found the home without any process that could.
    """
    marker = store_folder(home) / _MARKER
    if not marker.is_file():
        return
    target = Base(**json.loads(marker.read_text(encoding="utf-8")))
    hashes = FileHashes(home)
    for name, sha256 in target.files.items():
        if name != RECORD and not is_up_to_date(name, hashes.of(name, home / name), sha256):
            _put_in_place(incoming_path(home, sha256), home / name)
    for name, file in list(shared_files(home)):
        if name not in target.files and not name.startswith(_OWN):
            file.unlink()
    if RECORD in target.files:
        _merge_record(home, incoming_path(home, target.files[RECORD]))
    write_base(home, target)
    marker.unlink()
    shutil.rmtree(store_folder(home) / "incoming", ignore_errors=True)


def _put_in_place(content: Path, target: Path) -> None:
    """Link or copy a content under a temporary name that replaces the target; several files may have one content."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(content, temporary)
    except OSError:
        shutil.copyfile(content, temporary)
    temporary.replace(target)
    atomic_files.sync_folder(target.parent)


def _merge_record(home: Path, content: Path) -> None:
    """Take the record of the other machine; the weights file stays that of this machine if only it has one."""
    stored = read_record_file(content)
    if stored is None:
        return
    own = read_record(home)
    if own and own.weights and stored.weights and own.model == stored.model and not Path(stored.weights).is_file():
        stored = replace(stored, weights=own.weights)
    if stored != own:
        write_record(home, stored)


def read_record_file(file: Path) -> HomeRecord | None:
    """Return the record of a downloaded file; None where it is not there any more, because it is merged already."""
    if not file.is_file():
        return None
    folder = file.parent / "record"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(file, record_path(folder))
    return read_record(folder)


def _as_json(base: Base) -> dict[str, object]:
    return {"store": base.store, "generation": base.generation, "at": base.at, "files": dict(base.files)}
