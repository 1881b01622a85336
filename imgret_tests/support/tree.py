"""Files on disk as the tests want them, and what the tables of a home say of them.

Belongs here: writing and moving files, reading whole tables. Not here: what is in the files (`pictures.py`,
`odd_files.py`).
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imgret_assets.domain.embeddings.table_reader import embedding_matrix
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.image_roots import AnyRoot, as_roots
from imgret_tests.support.pictures import picture_bytes


def put(root: AnyRoot, path: str, data: bytes) -> str:
    """Write a file as a careful program does: beside it, then renamed, so that its inode is a new one.

    Written in place, two versions of one size could share the clock tick that both their times come from.
    """
    target = as_roots(root).local(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.part"[:200])
    aside.write_bytes(data)
    aside.replace(target)
    return path


def put_pictures(root: Path, seeds: Iterable[int]) -> list[str]:
    """Write a picture of each seed as `<seed>.png`."""
    return [put(root, f"{seed:03d}.png", picture_bytes(seed)) for seed in seeds]


def path_in(shard: str, shards: int = 4, stem: str = "file", ending: str = ".png") -> str:
    """A path that falls into the shard."""
    return next(path for number in range(10_000) if shard_of(path := f"{stem}{number}{ending}", shards) == shard)


def lock_folder(monkeypatch: pytest.MonkeyPatch, folder: Path, error: OSError | None = None) -> None:
    """Let the operating system refuse to list a folder: tests may run as root, whom no permission stops."""
    real = os.scandir

    def scandir(path: Any) -> Any:
        if not isinstance(path, int) and Path(path) == folder:
            raise error or PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


def manifest(home: Home, shards: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """Rows of the manifest by path."""
    keys = home.shards if shards is None else shards
    rows = [row for key in keys for row in pq.read_table(tables.manifest_path(home.warehouse, key)).to_pylist()]
    assert len({row["path"] for row in rows}) == len(rows)
    return {row["path"]: row for row in rows}


def statuses(home: Home) -> dict[str, str]:
    """Status of each manifest row by path."""
    return {path: row["status"] for path, row in manifest(home).items()}


def embedding_rows(home: Home, space: str) -> dict[str, dict[str, Any]]:
    """Rows of the embeddings by path."""
    rows = [
        row
        for key in home.shards
        for row in pq.read_table(tables.embeddings_path(home.warehouse, space, key)).to_pylist()
    ]
    return {row["path"]: row for row in rows}


def usable_vectors(home: Home, space: str) -> tuple[list[str], np.ndarray]:
    """Paths, sorted, and stored vectors float32 (n, dim) of all usable pictures."""
    whole = pa.concat_tables(
        [pq.read_table(tables.embeddings_path(home.warehouse, space, key)) for key in home.shards]
    ).sort_by("path")
    usable = tables.where_equal(whole, "status", "ok")
    return usable["path"].to_pylist(), embedding_matrix(usable["embedding"])


def stamps(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Time, inode and bytes of every file below a folder: equal only where nothing was written."""
    return {
        str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.stat().st_ino, file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
