"""The tables of pairs and of nearest neighbours over a home: all of them, and after one image in a hundred is new.

Belongs here: a home full of made-up tables, these two contenders. Not here: the searches without tables
(`bench.pairs`).
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.homes import open_bench_home
from bench.report import Measure, Report
from bench.rounds import Timing
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home

_SPACE = "bench-00000000"
_NEW = 100


def run(
    report: Report, vectors: np.ndarray, work: Path, *, threshold: float, rounds: int, say: Callable[[str], None]
) -> None:
    """Measure and add to the report."""
    count = len(vectors)
    old = np.flatnonzero(np.arange(count) % _NEW)
    names = ("pairs table", "nearest table")
    full = {name: Timing(count) for name in names}
    new = {name: Timing(count - len(old)) for name in names}
    for number in range(rounds + 1):
        home = open_bench_home(work / f"tables{number}")
        for timings, rows in ((full, old), (new, np.arange(count))):
            write_tables(home, vectors, rows)
            for name, refresh in zip(names, (lambda h: refresh_pairs(h, _SPACE, threshold), _nearest), strict=True):
                started, cpu = time.perf_counter(), time.process_time()
                refresh(home)
                seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
                if number:
                    timings[name].seconds.append(seconds)
                    timings[name].busy.append(cpu / seconds / usable_threads())
                    say(f"  round {number}: {name} of {len(rows):,}: {seconds:.2f} s")
        shutil.rmtree(home.path)
    for name in names:
        report.timings |= {f"{name}, all {count:,}": full[name], f"{name}, 1 % new": new[name]}
        shares = [part / whole for part, whole in zip(new[name].seconds, full[name].seconds, strict=True)]
        report.measures.append(Measure(f"{name}, 1 % new: share of all", float(np.median(shares)), 0.05, at_most=True))


def write_tables(home: Home, vectors: np.ndarray, rows: np.ndarray) -> None:
    """Manifest and embeddings of pictures that have these rows of `vectors`, float32 (n, dim)."""
    paths = [f"folder{row % 97:02d}/picture{row:07d}.jpg" for row in rows.tolist()]
    in_shard: dict[str, list[int]] = {shard: [] for shard in home.shards}
    for place in sorted(range(len(paths)), key=paths.__getitem__):
        in_shard[shard_of(paths[place], len(home.shards))].append(place)
    dim = vectors.shape[1]
    for shard, places in in_shard.items():
        listed = {
            "path": [paths[place] for place in places],
            "sha256": [hashlib.sha256(paths[place].encode()).hexdigest() for place in places],
            "status": ["ok"] * len(places),
        }
        numbers = pa.array(np.ascontiguousarray(vectors[rows[places]]).ravel())
        embedded = listed | {
            "engine": ["bench"] * len(places),
            "embedding": pa.FixedSizeListArray.from_arrays(numbers, dim),
        }
        described = {"space": _SPACE, "shards": str(len(home.shards)), "dim": str(dim)}
        manifest = tables.manifest_path(home.warehouse, shard)
        tables.write(manifest, _filled(listed, tables.MANIFEST_SCHEMA, len(places)), {"root": "bench"})
        path = tables.embeddings_path(home.warehouse, _SPACE, shard)
        tables.write(path, _filled(embedded, tables.embeddings_schema(dim), len(places)), described)


def _filled(columns: Mapping[str, object], schema: pa.Schema, count: int) -> pa.Table:
    """A table of these columns, nulls in the others."""
    found = [columns.get(field.name, pa.nulls(count, field.type)) for field in schema]
    return pa.Table.from_arrays(
        [pa.array(column) if isinstance(column, list) else column for column in found], schema=schema
    )


def _nearest(home: Home) -> object:
    return refresh_neighbours(home, _SPACE)
