"""The last complete state of the tables, for readers, while a run changes them or after one that did not end.

A run replaces one table after another. Between its first and its last one, or after a failure until the next run, they
don't belong together. So the tables of a complete state are kept by hard links, which cost nothing until a table is
replaced; page, queries and exports read them while the tables of the warehouse don't belong together.

Belongs here: keeping the links, choosing what a reader gets. Not here: what is behind (`domain.operations.backlog`),
the tables' own checks (`domain.storage.derived_tables`).
"""

import json
import logging
import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from imgret_assets.domain.embeddings.table_reader import embeddings_files
from imgret_assets.domain.models.resolution import space_of_last_run
from imgret_assets.domain.operations.backlog import read_backlog_of_tables
from imgret_assets.domain.storage import atomic_files, tables
from imgret_assets.domain.storage.derived_tables import DERIVED_TABLES
from imgret_assets.domain.storage.home import CompleteState, Home
from imgret_assets.domain.storage.input_snapshots import NEAREST_KIND, snapshot_path
from imgret_assets.errors import ImgretError

_log = logging.getLogger(__name__)
_POINTER = "complete.json"

_Stamp = tuple[Any, ...]
_CACHE: dict[Path, tuple[_Stamp, Home]] = {}
_CACHE_LOCK = threading.Lock()


def keep_complete_state(home: Home) -> bool:
    """Keep the tables by links if they belong together; return whether they do.

    To be called before a run changes the first table, and after the last. A file system without hard links keeps
    nothing, and a state that is kept already stays as it is.
    """
    live = home.live
    space = space_of_last_run(live)
    if space is None or read_backlog_of_tables(live, space.id).behind:
        return False
    files = _table_files(live, space.id)
    stamps = [_file_stamp(file) for file in files]
    pointer = _read_pointer(live)
    if pointer.get("stamps") == stamps and _folder(live, pointer).is_dir():
        return True
    name = uuid4().hex
    target = _states(live) / name
    try:
        links = {file: target / file.relative_to(live.warehouse) for file in files}
        snapshot = snapshot_path(live, NEAREST_KIND, space.id)
        links |= {snapshot: snapshot_path(replace(live, complete_state=_state(target)), NEAREST_KIND, space.id)}
        for file, link in links.items():
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, link)
        if [_file_stamp(file) for file in files] != stamps:
            raise OSError("a table was replaced meanwhile")
        content = {
            "name": name,
            "space": space.id,
            "stamps": stamps,
            "shards": live.record.shards,
            "root": str(live.images),
        }
        atomic_files.write_json(_states(live) / _POINTER, content)
    except (OSError, ImgretError) as error:
        _log.info("The complete state of the tables is not kept: %s", error)
        shutil.rmtree(target, ignore_errors=True)
        return True
    # A reader may still read the state before this one.
    _remove_others(_states(live), keep={name, str(pointer.get("name"))})
    return True


def served_home(home: Home) -> Home:
    """Return the home as readers get it: with its tables, or the last complete state if they don't belong together.

    Without such a state it is the home itself, and a reader gets the named error of the table that is behind.
    """
    live = home.live
    pointer = _read_pointer(live)
    if not pointer:
        return live
    last = space_of_last_run(live)
    space = last.id if last else str(pointer.get("space"))
    stamp = (live.settings, live.record, pointer.get("name"), *map(_file_stamp, _table_files(live, space)))
    with _CACHE_LOCK:
        cached = _CACHE.get(live.path)
        if cached is None or cached[0] != stamp:
            cached = _CACHE[live.path] = (stamp, _choose(live, space, pointer))
        return cached[1]


def _choose(home: Home, space: str, pointer: Mapping[str, Any]) -> Home:
    if not read_backlog_of_tables(home, space).behind:
        return home
    folder = _folder(home, pointer)
    if not folder.is_dir() or (pointer.get("shards"), pointer.get("root")) != (home.record.shards, str(home.images)):
        return home
    return replace(home, complete_state=_state(folder))


def _state(folder: Path) -> CompleteState:
    newest = max((file.stat().st_mtime for file in folder.rglob("*.parquet")), default=0.0)
    return CompleteState(folder, datetime.fromtimestamp(newest, UTC))


def describe(home: Home) -> str:
    """Return the line that says which state a reader gets; empty for that of now."""
    if home.complete_state is None:
        return ""
    at = home.complete_state.at.astimezone().strftime("%Y-%m-%d %H:%M")
    return (
        f"this is the last complete state, of {at}: a run is changing the tables, or the last one did not end "
        "(`imgret run` completes it)"
    )


def _states(home: Home) -> Path:
    return home.path / "complete"


def _folder(home: Home, pointer: Mapping[str, Any]) -> Path:
    return _states(home) / str(pointer.get("name", "none"))


def _read_pointer(home: Home) -> Mapping[str, Any]:
    try:
        pointer = json.loads((_states(home) / _POINTER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return pointer if isinstance(pointer, dict) else {}


def _table_files(home: Home, space: str) -> list[Path]:
    manifests = [tables.manifest_path(home.warehouse, shard) for shard in home.shards]
    return [
        *manifests,
        *embeddings_files(home, space),
        *(table.path(home.warehouse, space) for table in DERIVED_TABLES),
    ]


def _file_stamp(file: Path) -> list[int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns]


def _remove_others(folder: Path, keep: set[str]) -> None:
    others: Sequence[Path] = [entry for entry in folder.iterdir() if entry.is_dir() and entry.name not in keep]
    for other in others:
        shutil.rmtree(other, ignore_errors=True)
