"""Keeping the embeddings tables equal to the manifests: a vector for every usable picture, each content once.

Belongs here: what needs a vector, where one may already be, embedding the rest, writing shards. Not here:
models (`domain.models`), running them (`domain.embedder`), the store between tables (`domain.vector_store`).
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from imgret_assets.domain import locks, tables
from imgret_assets.domain.decode import Status, UnusableImageError, decode
from imgret_assets.domain.embedder import Embedder, stack, unusable_vectors
from imgret_assets.domain.files import status_of_os_error
from imgret_assets.domain.home import Home
from imgret_assets.domain.vector_store import Embedded, VectorStore
from imgret_assets.errors import ModelError, StaleTableError, TableError

# Shards are embedded in groups of about this many pictures, so that batches stay full over small shards.
GROUP_IMAGES = 2048
# What a kill may cost: vectors are kept in the store at least this often.
CHECKPOINT_IMAGES = 256
_RETRY = frozenset({Status.VANISHED, Status.UNREADABLE})
_DECODE_THREADS = 4

Progress = Callable[[int], None]


@dataclass
class ShardEmbeddings:
    """What one shard's table holds now, and what was done for it."""

    shard: str
    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    written: bool = False
    examples: list[str] = field(default_factory=list)
    unusable: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass
class EmbedReport:
    """What a refresh of embeddings did: `embedded` counts forward passes, `seconds` the time of embedding alone."""

    space: str
    shards: list[ShardEmbeddings]
    embedded: int
    failed: int
    seconds: float
    engine: str | None
    other_engines: list[str]

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        rows = sum(shard.rows for shard in self.shards)
        if not self.embedded and not self.failed:
            return f"{rows:,} images have their vectors in {self.space}: nothing was embedded."
        rate = self.embedded / self.seconds if self.seconds else 0.0
        warning = (
            f" The collection also holds vectors of {', '.join(self.other_engines)}." if self.other_engines else ""
        )
        return (
            f"{self.embedded:,} of {rows:,} images embedded in {self.space} by {self.engine} in {self.seconds:.1f} s "
            f"({rate:.1f} a second), {self.failed:,} unusable.{warning}"
        )


@dataclass
class _Plan:
    """What one shard's table is to hold, and which contents have no vector in its old file."""

    shard: str
    wanted: pa.Table
    old: "_OldTable"
    missing: dict[str, list[str]]
    same: bool


def refresh_embeddings(
    home: Home, embedder: Embedder, shards: Sequence[str] | None = None, *, progress: Progress | None = None
) -> EmbedReport:
    """Bring the embeddings of the shards up to date with their manifests.

    A content (sha256) that has a vector anywhere in this home and space is not embedded again. Vectors are
    kept as they come, so a killed run goes on where it was.

    Args:
        home: the home.
        embedder: gives vectors; its space says which tables are meant.
        shards: keys of the shards; all where None.
        progress: called with the number of pictures done since the last call.

    Raises:
        TableError: a manifest is missing.
        StaleTableError: a manifest is of another image root.
        ModelError: the model gives no usable vector for a whole batch.
        LockTimeoutError: another run works on one of the shards.
    """
    selected = list(home.shards if shards is None else shards)
    with locks.held(
        home.locks,
        [locks.shard_lock(shard) for shard in selected],
        timeout_s=home.settings.lock_timeout_s,
        purpose="embedding images",
    ):
        run = _Run(home, embedder, progress or (lambda _: None))
        group: list[_Plan] = []
        for shard in selected:
            group.append(run.plan(shard))
            if sum(len(plan.missing) for plan in group) >= GROUP_IMAGES:
                run.finish(group)
                group = []
        run.finish(group)
        return run.report()


class _OldTable:
    """A shard's table as it was: which contents have a vector in it, and where."""

    def __init__(self, path: Path, space: str) -> None:
        self.path = path
        self.file: pq.ParquetFile | None = None
        self.rows: dict[str, int] = {}
        self.keys: list[tuple[str, str, str]] = []
        self._groups: dict[int, np.ndarray] = {}
        if not path.is_file() or tables.read_metadata(path).get("space") != space:
            return
        self.file = pq.ParquetFile(path)
        columns = self.file.read(columns=["path", "sha256", "status", "error", "engine"]).to_pydict()
        self.keys = list(zip(columns["path"], columns["sha256"], columns["status"], strict=True))
        self.facts = {
            sha: Embedded(status, error, engine, None)
            for sha, status, error, engine in zip(
                columns["sha256"], columns["status"], columns["error"], columns["engine"], strict=True
            )
            if status not in _RETRY
        }
        self.rows = {sha: row for row, (_, sha, status) in enumerate(self.keys) if status not in _RETRY}

    def get(self, sha: str) -> Embedded:
        """What the table says of a content it has."""
        fact = self.facts[sha]
        if fact.status != Status.OK:
            return fact
        group, row = divmod(self.rows[sha], tables.EMBEDDING_GROUP_ROWS)
        return Embedded(fact.status, fact.error, fact.engine, self._group(group)[row])

    def _group(self, group: int) -> np.ndarray:
        # Old and new rows are both sorted by path, so the next row is nearly always in a group just used.
        if group not in self._groups:
            if len(self._groups) >= 4:
                self._groups.pop(next(iter(self._groups)))
            assert self.file is not None  # noqa: S101
            self._groups[group] = vectors_of(self.file.read_row_group(group, columns=["embedding"])["embedding"])
        return self._groups[group]


class _Run:
    """One refresh: plans of shards, the pictures they lack, the tables they become."""

    def __init__(self, home: Home, embedder: Embedder, progress: Progress) -> None:
        self.home = home
        self.embedder = embedder
        self.space = embedder.space
        self.store = VectorStore(home.work, self.space.id)
        self.progress = progress
        self.done: list[ShardEmbeddings] = []
        self.embedded = self.failed = 0
        self.seconds = 0.0
        self.engines: set[str] = set()

    def plan(self, shard: str) -> _Plan:
        """Compare a shard's manifest with its table."""
        manifest = tables.require(
            tables.manifest_path(self.home.warehouse, shard), f"The manifest of shard {shard}", "raw_images"
        )
        root = tables.read_metadata(manifest).get("root")
        if root != str(self.home.images):
            raise StaleTableError(
                f"The manifest of shard {shard} lists {root}",
                expected=f"files of {self.home.images}",
                remedy="materialise `raw_images` for all shards, or run `imgret run`",
            )
        rows = tables.read(manifest, ["path", "sha256", "status"])
        wanted = tables.where_equal(rows, "status", Status.OK).select(["path", "sha256"])
        old = _OldTable(tables.embeddings_path(self.home.warehouse, self.space.id, shard), self.space.id)
        missing: dict[str, list[str]] = {}
        keys = list(zip(wanted["path"].to_pylist(), wanted["sha256"].to_pylist(), strict=True))
        for path, sha in keys:
            if sha not in old.rows:
                missing.setdefault(sha, []).append(path)
        same = not missing and old.file is not None and [key[:2] for key in old.keys] == keys
        return _Plan(shard, wanted, old, missing, same)

    def finish(self, group: Sequence[_Plan]) -> None:
        """Embed what the group lacks and write its tables."""
        missing: dict[str, list[str]] = {}
        for plan in group:
            for sha, paths in plan.missing.items():
                missing.setdefault(sha, []).extend(paths)
        had = self.store.which(list(missing))
        lacking = {sha: paths for sha, paths in missing.items() if sha not in had}
        had |= self._rescue(set(lacking))
        lacking = {sha: paths for sha, paths in lacking.items() if sha not in had}
        passing = self._embed(lacking) if lacking else {}
        for plan in group:
            self.done.append(self._write(plan, passing, set(lacking)))
        # Only now: a content may have been wanted by several shards of the group.
        self.store.drop_many(list(missing))

    def _rescue(self, lacking: set[str]) -> set[str]:
        """Take vectors of these contents from other shards' tables: files that were renamed or copied."""
        found: set[str] = set()
        for shard in self.home.shards:
            path = tables.embeddings_path(self.home.warehouse, self.space.id, shard)
            if lacking == found or not path.is_file() or tables.read_metadata(path).get("space") != self.space.id:
                continue
            other = _OldTable(path, self.space.id)
            here = sorted((lacking - found) & other.rows.keys(), key=other.rows.__getitem__)
            for part in _batched(here, tables.EMBEDDING_GROUP_ROWS):
                self.store.put_many((sha, other.get(sha)) for sha in part)
            found.update(here)
        return found

    def _embed(self, lacking: dict[str, list[str]]) -> dict[str, Embedded]:
        """Embed contents into the store; returns those whose file was not to be had this time."""
        passing: dict[str, Embedded] = {}
        keep: list[tuple[str, Embedded]] = []
        started = time.monotonic()
        try:
            for sha, outcome in embed_files(
                self.embedder, lacking.items(), self.home.images, max_pixels=self.home.settings.max_pixels
            ):
                if outcome.status in _RETRY:
                    passing[sha] = outcome
                else:
                    keep.append((sha, outcome))
                self.embedded += outcome.vector is not None
                self.failed += outcome.vector is None
                self.progress(1)
                if len(keep) >= CHECKPOINT_IMAGES:
                    self.store.put_many(keep)
                    keep = []
        finally:
            self.store.put_many(keep)
            self.seconds += time.monotonic() - started
        return passing

    def _write(self, plan: _Plan, passing: dict[str, Embedded], fresh: set[str]) -> ShardEmbeddings:
        result = ShardEmbeddings(plan.shard, rows=plan.wanted.num_rows)
        self.engines.update(fact.engine for fact in plan.old.facts.values() if fact.engine) if plan.old.file else None
        if plan.same:
            result.statuses = Counter(status for _, _, status in plan.old.keys)
            result.reused = result.rows
            return result
        self._save_dropped(plan)
        metadata = {**self.space.as_metadata(), "shard": plan.shard, "shards": str(self.home.record.shards)}
        path = tables.embeddings_path(self.home.warehouse, self.space.id, plan.shard)
        with tables.writer(path, tables.embeddings_schema(self.space.dim), metadata) as writer:
            for start in range(0, plan.wanted.num_rows, tables.EMBEDDING_GROUP_ROWS):
                part = plan.wanted.slice(start, tables.EMBEDDING_GROUP_ROWS).to_pydict()
                outcomes = self._outcomes(plan, part["sha256"], passing)
                writer.write_table(self._as_table(part, outcomes), row_group_size=tables.EMBEDDING_GROUP_ROWS)
                self._account(result, part, outcomes, fresh)
        result.written = True
        return result

    def _save_dropped(self, plan: _Plan) -> None:
        # A file that leaves this shard may have been renamed into one that is refreshed later, by another run.
        dropped = sorted(plan.old.rows.keys() - set(plan.wanted["sha256"].to_pylist()), key=plan.old.rows.__getitem__)
        for part in _batched(dropped, tables.EMBEDDING_GROUP_ROWS):
            self.store.put_many((sha, plan.old.get(sha)) for sha in part)

    def _outcomes(self, plan: _Plan, contents: Sequence[str], passing: dict[str, Embedded]) -> list[Embedded]:
        wanted = [sha for sha in contents if sha in plan.missing]
        stored = self.store.get_many(wanted)
        # A run on other shards that wanted the same content may have taken it into its table and out of the store.
        if gone := [sha for sha in wanted if sha not in stored and sha not in passing]:
            self._rescue(set(gone))
            stored |= self.store.get_many(gone)
        return [
            plan.old.get(sha) if sha in plan.old.rows else stored[sha] if sha in stored else passing[sha]
            for sha in contents
        ]

    def _as_table(self, part: dict[str, list[str]], outcomes: Sequence[Embedded]) -> pa.Table:
        dim = self.space.dim
        values = np.zeros((len(outcomes), dim), dtype=np.float32)
        absent = np.ones(len(outcomes), dtype=bool)
        for row, outcome in enumerate(outcomes):
            if outcome.vector is not None:
                values[row], absent[row] = outcome.vector, False
        if unusable_vectors(values[~absent]).any():
            raise TableError(
                "A vector to be written is zero or not finite", remedy="remove the home's work folder and run again"
            )
        embedding = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), dim, mask=pa.array(absent))
        columns = [
            part["path"],
            part["sha256"],
            [o.status for o in outcomes],
            [o.error for o in outcomes],
            [o.engine for o in outcomes],
        ]
        schema = tables.embeddings_schema(dim)
        arrays = [pa.array(column, pa.string()) for column in columns]
        return pa.Table.from_arrays([*arrays, embedding], schema=schema)

    def _account(
        self, result: ShardEmbeddings, part: dict[str, list[str]], outcomes: Sequence[Embedded], fresh: set[str]
    ) -> None:
        for path, sha, outcome in zip(part["path"], part["sha256"], outcomes, strict=True):
            result.statuses[outcome.status] += 1
            result.reused += sha not in fresh
            if outcome.engine:
                self.engines.add(outcome.engine)
            if outcome.vector is None:
                result.unusable.append((path, outcome.status, outcome.error or ""))
            elif sha in fresh and len(result.examples) < 32:
                result.examples.append(path)

    def report(self) -> EmbedReport:
        """What was done, over all shards."""
        engine = self.embedder.engine if self.embedded else None
        others = sorted(self.engines - {engine}) if engine else []
        return EmbedReport(self.space.id, self.done, self.embedded, self.failed, self.seconds, engine, others)


def embed_files(
    embedder: Embedder, contents: Iterable[tuple[str, Sequence[str]]], root: Path, *, max_pixels: int
) -> Iterator[tuple[str, Embedded]]:
    """Embed files in batches while worker threads read and decode the next ones.

    At most two batches of prepared pictures wait at any time, whatever the number of files.

    Args:
        embedder: gives the vectors.
        contents: for each content its sha256 and the relative paths that have it.
        root: the image root.
        max_pixels: a picture with more pixels is not decoded.

    Yields:
        Each content's sha256 and what came of it.

    Raises:
        ModelError: a batch of several pictures without one usable vector.
    """

    def read(item: tuple[str, Sequence[str]]) -> tuple[str, np.ndarray | Embedded]:
        sha, paths = item
        return sha, _prepare(embedder, sha, [root / path for path in paths], max_pixels)

    batch: list[tuple[str, np.ndarray]] = []
    with ThreadPoolExecutor(max_workers=_DECODE_THREADS) as pool:
        for sha, prepared in _ahead(pool, read, contents, 2 * embedder.batch_size):
            if isinstance(prepared, Embedded):
                yield sha, prepared
                continue
            batch.append((sha, prepared))
            if len(batch) >= embedder.batch_size:
                yield from _embed_batch(embedder, batch)
                batch = []
        if batch:
            yield from _embed_batch(embedder, batch)


def _ahead(
    pool: ThreadPoolExecutor,
    function: Callable[[tuple[str, Sequence[str]]], tuple[str, np.ndarray | Embedded]],
    items: Iterable[tuple[str, Sequence[str]]],
    limit: int,
) -> Iterator[tuple[str, np.ndarray | Embedded]]:
    """Results in order, at most `limit` of them waiting (Executor.map would submit everything at once)."""
    waiting: list[Future[tuple[str, np.ndarray | Embedded]]] = []
    source = iter(items)
    try:
        while True:
            waiting.extend(pool.submit(function, item) for item in islice(source, limit - len(waiting)))
            if not waiting:
                return
            yield waiting.pop(0).result()
    finally:
        for future in waiting:
            future.cancel()


def _prepare(embedder: Embedder, sha: str, locations: Sequence[Path], max_pixels: int) -> np.ndarray | Embedded:
    problem: tuple[str, str] = (Status.VANISHED, "")
    for location in locations:
        try:
            data = location.read_bytes()
            if hashlib.sha256(data).hexdigest() != sha:
                problem = (Status.VANISHED, "its content changed after it was listed; the next run takes the new one")
                continue
            return embedder.prepare(decode(data, max_pixels=max_pixels))
        except UnusableImageError as error:
            return Embedded(error.status, error.reason, None, None)
        except OSError as error:
            problem = status_of_os_error(error)
    return Embedded(problem[0], problem[1], None, None)


def _embed_batch(embedder: Embedder, batch: Sequence[tuple[str, np.ndarray]]) -> Iterator[tuple[str, Embedded]]:
    vectors = embedder.embed(stack([prepared for _, prepared in batch]))
    bad = unusable_vectors(vectors)
    if len(batch) > 1 and bad.all():
        raise ModelError(
            f"{embedder.space.model} gave only zero or non-finite vectors for a batch of {len(batch)} pictures",
            remedy="check the weights file, or use precision float32",
        )
    for (sha, _), vector, unusable in zip(batch, vectors, bad, strict=True):
        if unusable:
            yield (
                sha,
                Embedded(Status.UNSUPPORTED, "the model gives it a zero or non-finite vector", embedder.engine, None),
            )
        else:
            yield sha, Embedded(Status.OK, None, embedder.engine, vector)


def vectors_of(column: pa.ChunkedArray) -> np.ndarray:
    """An embedding column as float32 (rows, dim), numbers as they are stored; null rows are zero."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    values = array.values.slice(array.offset * array.type.list_size, len(array) * array.type.list_size)
    vectors = values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, array.type.list_size)
    if array.null_count:
        vectors = np.where(array.is_null().to_numpy(zero_copy_only=False)[:, np.newaxis], np.float32(0), vectors)
    return vectors


def _batched(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
