"""Keeping the embeddings tables equal to the manifests: a vector for every usable picture, each content once.

Belongs here: what needs a vector, where one may already be, embedding the rest, writing shards. Not here: files to
vectors (`domain.embeddings.embedding_pipeline`), models (`domain.models.registry`), the store between tables
(`domain.embeddings.pending_vectors`).
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa

from imgret_assets.domain.embeddings.embedding_pipeline import StageTimes, embed_files
from imgret_assets.domain.embeddings.pending_vectors import EmbeddingResult, PendingVectors
from imgret_assets.domain.embeddings.table_reader import StoredContents
from imgret_assets.domain.images.decode import RETRIED_STATUSES, Status
from imgret_assets.domain.inference.embedder import Embedder
from imgret_assets.domain.numerics.vectors import unusable_vectors
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.runtime.progress import Listener, Progress
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import StaleTableError, TableError

# Shards are embedded in groups of about this many pictures, so that the engine seldom runs dry between two.
GROUP_IMAGES = 8192
# What a kill may cost: vectors are kept in the store at least this often.
CHECKPOINT_IMAGES = 256


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
    times: StageTimes = field(default_factory=StageTimes)

    @property
    def images_per_second(self) -> float:
        """Rate of embedding, unusable files included; 0 where nothing was done."""
        return (self.embedded + self.failed) / self.seconds if self.seconds else 0.0

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        rows = sum(shard.rows for shard in self.shards)
        if not self.embedded and not self.failed:
            return f"{rows:,} images have their vectors in {self.space}: nothing was embedded."
        warning = (
            f" The collection also holds vectors of {', '.join(self.other_engines)}." if self.other_engines else ""
        )
        return (
            f"{self.embedded:,} of {rows:,} images embedded in {self.space} by {self.engine} in {self.seconds:.1f} s "
            f"({self.images_per_second:.1f} a second), {self.failed:,} unusable.{warning}"
        )


@dataclass
class _Plan:
    """What one shard's table is to hold, and which contents have no vector in its old file."""

    shard: str
    wanted: pa.Table
    old: StoredContents
    missing: dict[str, list[str]]
    same: bool


def refresh_embeddings(
    home: Home, embedder: Embedder, shards: Sequence[str] | None = None, *, progress: Listener | None = None
) -> EmbedReport:
    """Bring the embeddings of the shards up to date with their manifests.

    A content (sha256) that has a vector anywhere in this home and space is not embedded again. Vectors are
    kept as they come, so a killed run goes on where it was.

    Args:
        home: the home.
        embedder: gives vectors; its space says which tables are meant.
        shards: keys of the shards; all where None.
        progress: told after every picture how far it has come.

    Raises:
        TableError: a manifest is missing.
        StaleTableError: a manifest is of another image root.
        ModelError: the model gives no usable vector for a whole batch.
        LockTimeoutError: another run works on one of the shards.
    """
    selected = list(home.shards if shards is None else shards)
    with home.hold([locks.shard_lock(shard) for shard in selected], "embedding images"):
        with _Run(home, embedder, selected, progress or (lambda _: None)) as run:
            group: list[_Plan] = []
            while run.waiting:
                group.append(run.plan(run.waiting.popleft()))
                if sum(len(plan.missing) for plan in group) >= GROUP_IMAGES:
                    run.finish(group)
                    group = []
            run.finish(group)
        if run.embedded:
            # The engine's name ends in it; whoever embeds here next, a query too, goes on with the same.
            home.update(precision=embedder.engine.rpartition("-")[2])
        return run.report()


class _Run:
    """One refresh: plans of shards, the pictures they lack, the tables they become."""

    def __init__(self, home: Home, embedder: Embedder, shards: Sequence[str], progress: Listener) -> None:
        self.home = home
        self.embedder = embedder
        self.space = embedder.space
        self.store = PendingVectors(home.work, self.space.id)
        self.progress = progress
        # Shards that no group has been planned for, and what each lacks, counted when something is embedded before.
        self.waiting = deque(shards)
        self._counts: dict[str, int] = {}
        self.done: list[ShardEmbeddings] = []
        self.total = self.embedded = self.failed = 0
        self.seconds = 0.0
        self.times = StageTimes()
        self.engines: set[str] = set()
        # One thread writes, so that the engine goes on meanwhile; vectors come before the tables that need them.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="imgret-write")
        self._writing: Future[None] | None = None

    def __enter__(self) -> "_Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Whatever ended the block, what was handed over is written; its own failure counts only if there was none.
        try:
            if kind is None:
                self._written()
        finally:
            self._writer.shutdown()

    def _written(self) -> None:
        """Wait for what was handed to the writer last; its failure is raised here."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _write_aside(self, work: Callable[[], None]) -> None:
        self._written()

        def timed() -> None:
            started = time.monotonic()
            try:
                work()
            finally:
                self.times.write += time.monotonic() - started

        self._writing = self._writer.submit(timed)

    def _expected(self, lacking: int) -> int:
        """Pictures of the whole run, as far as is known now: done, of this group, and of shards that wait."""
        for shard in self.waiting:
            if shard not in self._counts:
                self._counts[shard] = self._count_missing(shard)
        return self.embedded + self.failed + lacking + sum(self._counts[shard] for shard in self.waiting)

    def _count_missing(self, shard: str) -> int:
        """Contents of a shard without a vector in its table: for the progress, so a few too many do no harm."""
        manifest = tables.manifest_path(self.home.warehouse, shard)
        if not manifest.is_file():
            return 0
        rows = tables.read(manifest, ["sha256", "status"])
        wanted = set(tables.where_equal(rows, "status", Status.OK)["sha256"].to_pylist())
        return len(wanted - StoredContents(self.home, self.space.id, shard).row_of.keys())

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
        old = StoredContents(self.home, self.space.id, shard)
        missing: dict[str, list[str]] = {}
        keys = list(zip(wanted["path"].to_pylist(), wanted["sha256"].to_pylist(), strict=True))
        for path, sha in keys:
            if sha not in old.row_of:
                missing.setdefault(sha, []).append(path)
        same = not missing and old.exists and [key[:2] for key in old.rows] == keys
        return _Plan(shard, wanted, old, missing, same)

    def finish(self, group: Sequence[_Plan]) -> None:
        """Embed what the group lacks and write its tables."""
        missing: dict[str, list[str]] = {}
        for plan in group:
            for sha, paths in plan.missing.items():
                missing.setdefault(sha, []).extend(paths)
        had = self.store.known(list(missing))
        lacking = {sha: paths for sha, paths in missing.items() if sha not in had}
        had |= self._rescue(set(lacking))
        lacking = {sha: paths for sha, paths in lacking.items() if sha not in had}
        passing = self._embed(lacking) if lacking else {}

        def write_tables() -> None:
            for plan in group:
                self.done.append(self._write(plan, passing, set(lacking)))
            # Only now: a content may have been wanted by several shards of the group.
            self.store.delete_many(list(missing))

        self._write_aside(write_tables)

    def _rescue(self, lacking: set[str]) -> set[str]:
        """Take vectors of these contents from other shards' tables: files that were renamed or copied."""
        found: set[str] = set()
        for shard in self.home.shards:
            if lacking == found:
                break
            other = StoredContents(self.home, self.space.id, shard)
            here = sorted((lacking - found) & other.row_of.keys(), key=other.row_of.__getitem__)
            for part in batches(here, tables.EMBEDDING_GROUP_ROWS):
                self.store.put_many((sha, other.get(sha)) for sha in part)
            found.update(here)
        return found

    def _embed(self, lacking: dict[str, list[str]]) -> dict[str, EmbeddingResult]:
        """Embed contents into the store; returns those whose file was not to be had this time."""
        passing: dict[str, EmbeddingResult] = {}
        keep: list[tuple[str, EmbeddingResult]] = []
        loading = time.monotonic()
        self.embedder.load()
        self.times.load += time.monotonic() - loading
        self.total = self._expected(len(lacking))
        started, before = time.monotonic(), self.seconds
        files = embed_files(
            self.embedder,
            lacking.items(),
            self.home.images,
            max_pixels=self.home.settings.max_pixels,
            times=self.times,
        )
        try:
            for sha, outcome in files:
                if outcome.status in RETRIED_STATUSES:
                    passing[sha] = outcome
                else:
                    keep.append((sha, outcome))
                self.embedded += outcome.vector is not None
                self.failed += outcome.vector is None
                self.seconds = before + time.monotonic() - started
                done = self.embedded + self.failed
                self.progress(Progress("images", done, max(done, self.total), self.seconds))
                if len(keep) >= CHECKPOINT_IMAGES:
                    self._write_aside(partial(self.store.put_many, keep))
                    keep = []
        finally:
            # Also when it is being stopped: the vectors that are there are kept.
            self._write_aside(partial(self.store.put_many, keep))
            self._written()
            self.seconds = before + time.monotonic() - started
        return passing

    def _write(self, plan: _Plan, passing: dict[str, EmbeddingResult], fresh: set[str]) -> ShardEmbeddings:
        result = ShardEmbeddings(plan.shard, rows=plan.wanted.num_rows)
        self.engines.update(plan.old.engines)
        if plan.same:
            result.statuses = Counter(status for _, _, status in plan.old.rows)
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
        dropped = sorted(
            plan.old.row_of.keys() - set(plan.wanted["sha256"].to_pylist()), key=plan.old.row_of.__getitem__
        )
        for part in batches(dropped, tables.EMBEDDING_GROUP_ROWS):
            self.store.put_many((sha, plan.old.get(sha)) for sha in part)

    def _outcomes(
        self, plan: _Plan, contents: Sequence[str], passing: dict[str, EmbeddingResult]
    ) -> list[EmbeddingResult]:
        wanted = [sha for sha in contents if sha in plan.missing]
        stored = self.store.get_many(wanted)
        # A run on other shards that wanted the same content may have taken it into its table and out of the store.
        if gone := [sha for sha in wanted if sha not in stored and sha not in passing]:
            self._rescue(set(gone))
            stored |= self.store.get_many(gone)
        return [
            plan.old.get(sha) if sha in plan.old.row_of else stored[sha] if sha in stored else passing[sha]
            for sha in contents
        ]

    def _as_table(self, part: dict[str, list[str]], outcomes: Sequence[EmbeddingResult]) -> pa.Table:
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
        self, result: ShardEmbeddings, part: dict[str, list[str]], outcomes: Sequence[EmbeddingResult], fresh: set[str]
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
        return EmbedReport(
            self.space.id, self.done, self.embedded, self.failed, self.seconds, engine, others, self.times
        )
