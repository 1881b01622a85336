"""The embeddings tables: refreshed so that every usable image of the manifest has an embedding.

Belongs here: embedding the contents that no table has, each content once, and writing the tables of the shards. Not
here: what a shard lacks (`domain.embeddings.shard_plan`), from files to vectors
(`domain.embeddings.embedding_pipeline`), reading the tables (`domain.embeddings.table_reader`), vectors that are not in
a table yet (`domain.embeddings.pending_vectors`).
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa

from imgret_assets.domain.cluster.ray_cluster import RayCluster
from imgret_assets.domain.embeddings.embedding_pipeline import StageTimes, embed_files, refuse_broken_model
from imgret_assets.domain.embeddings.on_cluster import can_embed, embed_on_cluster
from imgret_assets.domain.embeddings.pending_vectors import EmbeddingResult, PendingVectors, split_engine, with_decoding
from imgret_assets.domain.embeddings.shard_plan import ShardPlan, count_missing, plan_shard
from imgret_assets.domain.embeddings.table_reader import StoredContents
from imgret_assets.domain.images.decode import DECODER_VERSION
from imgret_assets.domain.images.decoder_crashes import watching
from imgret_assets.domain.images.image_status import RETRIED_STATUSES
from imgret_assets.domain.inference.embedder import Embedder
from imgret_assets.domain.numerics.vectors import unusable_vectors
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.runtime.progress import Listener, Progress
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.table_metadata import EmbeddingsMetadata
from imgret_assets.domain.storage.verification import discard_damaged
from imgret_assets.errors import TableError
from imgret_assets.wording import counted

# Shards are embedded in groups with about this many images to embed, so that the engine seldom waits between groups.
GROUP_IMAGES = 8192
# A killed run loses at most about this many vectors: the others are in the store of pending vectors.
CHECKPOINT_IMAGES = 256
# Newly embedded paths that a shard's report names.
_EXAMPLES = 32


@dataclass
class ShardEmbeddings:
    """Report on one shard's embeddings table.

    Attributes:
        shard: key of the shard.
        rows: number of rows of the table.
        statuses: number of rows by status.
        reused: number of rows whose content was not embedded in this run.
        written: whether the table was written; a current one is not.
        examples: some paths that were embedded in this run.
        unusable: path, status and reason of each row without a vector; empty where the table was not written.
    """

    shard: str
    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    written: bool = False
    examples: list[str] = field(default_factory=list)
    unusable: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass
class EmbeddingsReport:
    """Report on a refresh of the embeddings.

    Attributes:
        space: id of the embedding space.
        shards: one report for each shard.
        embedded: number of contents that the model gave a vector for.
        failed: number of contents that could not be embedded.
        seconds: time of embedding, without planning and writing.
        engine: engine that embedded; None where nothing was embedded.
        other_engines: other engines that made stored vectors; empty where nothing was embedded.
        times: seconds of each stage.
        outdated: number of contents that were embedded anew because they are decoded otherwise now.
    """

    space: str
    shards: list[ShardEmbeddings]
    embedded: int
    failed: int
    seconds: float
    engine: str | None
    other_engines: list[str]
    times: StageTimes = field(default_factory=StageTimes)
    outdated: int = 0

    @property
    def images_per_second(self) -> float:
        """Rate of embedding, failed contents included; 0 where nothing was embedded."""
        return (self.embedded + self.failed) / self.seconds if self.seconds else 0.0

    @property
    def summary(self) -> str:
        """The report in a line."""
        rows = sum(shard.rows for shard in self.shards)
        if not self.embedded and not self.failed:
            return f"{counted(rows, 'image')} with embeddings in {self.space}: nothing was embedded."
        warning = (
            f" The collection also has vectors made by {', '.join(self.other_engines)}." if self.other_engines else ""
        )
        if self.outdated:
            warning += (
                f" {self.outdated:,} images are embedded again, once, because this version decodes them otherwise: "
                "colour profiles, transparency, odd forms of TIFF and BMP, and files that it could not decode before."
            )
        return (
            f"{self.embedded:,} of {rows:,} images embedded in {self.space} by {self.engine} in {self.seconds:.1f} s "
            f"({self.images_per_second:.1f} a second), {self.failed:,} unusable.{warning}"
        )


def refresh_embeddings(
    home: Home,
    embedder: Embedder,
    shards: Sequence[str] | None = None,
    *,
    cluster: RayCluster | None = None,
    progress: Listener | None = None,
) -> EmbeddingsReport:
    """Refresh the embeddings of the shards so that they match their manifests.

    A content (sha256) that has an embedding anywhere in this home and space is not embedded again. Vectors are stored
    while the run goes on, so the next run continues where a killed one stopped.

    Args:
        home: the home.
        embedder: model and engine; its space determines the tables.
        shards: keys of the shards; all where None.
        cluster: where images are embedded; None for this process. What needs a GPU is embedded in this process.
        progress: called after every image.

    Raises:
        TableError: a manifest is missing, or a table is damaged.
        StaleTableError: a manifest is of another image root.
        ModelError: the model gives no usable vector for a whole batch.
        LockTimeoutError: another run holds one of the shards.
        ClusterError: no node of the cluster can work, or work was lost too often.
    """
    selected = list(home.shards if shards is None else shards)
    names = [locks.shard_lock(shard) for shard in selected]
    with home.hold(names, "embedding images"), watching(home.work / "decoding"):
        discard_damaged(home, [tables.embeddings_path(home.warehouse, embedder.space.id, key) for key in selected])
        with _Refresh(home, embedder, selected, cluster, progress or (lambda _: None)) as refresh:
            group: list[ShardPlan] = []
            while refresh.waiting:
                group.append(plan_shard(home, embedder.space.id, refresh.waiting.popleft()))
                if sum(len(plan.missing) for plan in group) >= GROUP_IMAGES:
                    refresh.embed_group(group)
                    group = []
            refresh.embed_group(group)
        if refresh.embedded:
            # The engine's name ends in its precision. Later runs and queries in this home use the same. It is recorded
            # with its vectors, not when it is chosen: an engine that can't work must not become the home's.
            home.update(engine=embedder.family, precision=embedder.engine.rpartition("-")[2])
        return refresh.report()


class _Refresh:
    """State of one refresh, and the thread that writes while the engine computes."""

    def __init__(
        self,
        home: Home,
        embedder: Embedder,
        shards: Sequence[str],
        cluster: RayCluster | None,
        progress: Listener,
    ) -> None:
        self.home = home
        self.cluster = cluster
        self.embedder = embedder
        self.space = embedder.space
        self.pending = PendingVectors(home.work, self.space.id)
        self.progress = progress
        # Shards that are not planned yet. What they lack is counted only if there is progress to show.
        self.waiting = deque(shards)
        self._missing_counts: dict[str, int] = {}
        self.shard_reports: list[ShardEmbeddings] = []
        self.total = self.embedded = self.failed = 0
        self.seconds = 0.0
        self.times = StageTimes()
        self.engines: set[str] = set()
        self.decodings: dict[str, str] = {}
        self.outdated = 0
        self.pending.discard_damaged()
        self.pending.drop_failures_of_older_decoder()
        # One thread, so that writes happen in order: vectors before the tables that need them.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="imgret-write")
        self._write: Future[None] | None = None

    def __enter__(self) -> "_Refresh":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # The last write always ends before the block does. Its error is raised unless the block has failed itself.
        try:
            if kind is None:
                self._wait_for_write()
        finally:
            self._writer.shutdown()

    def embed_group(self, group: Sequence[ShardPlan]) -> None:
        """Embed what the group's shards lack, and start writing their tables."""
        missing: dict[str, list[str]] = {}
        for plan in group:
            for content, paths in plan.missing.items():
                missing.setdefault(content, []).extend(paths)
        self.decodings = {content: name for plan in group for content, name in plan.decodings.items()}
        self.outdated += sum(plan.outdated for plan in group)
        self.pending.drop_outdated({name: self.decodings[name] for name in missing if name in self.decodings})
        available = self.pending.known(list(missing))
        available |= self._fetch_from_tables(missing.keys() - available)
        to_embed = {content: paths for content, paths in missing.items() if content not in available}
        retried = self._embed(to_embed) if to_embed else {}

        def write_tables() -> None:
            for plan in group:
                self.shard_reports.append(self._write_shard(plan, retried, to_embed))
            # After all tables: several shards of the group may need the same content.
            self.pending.delete_many(list(missing))

        self._start_write(write_tables)

    def report(self) -> EmbeddingsReport:
        """Return the report over all shards."""
        engine = self.embedder.engine if self.embedded else None
        others = sorted(self.engines - {engine}) if engine else []
        return EmbeddingsReport(
            self.space.id,
            self.shard_reports,
            self.embedded,
            self.failed,
            self.seconds,
            engine,
            others,
            self.times,
            self.outdated,
        )

    def _start_write(self, write: Callable[[], None]) -> None:
        """Let the writer thread do something, after the write before it."""
        self._wait_for_write()

        def timed() -> None:
            started = time.monotonic()
            try:
                write()
            finally:
                self.times.write += time.monotonic() - started

        self._write = self._writer.submit(timed)

    def _wait_for_write(self) -> None:
        """Wait for the last write; raise its error."""
        if self._write is not None:
            write, self._write = self._write, None
            write.result()

    def _expected_total(self, to_embed: int) -> int:
        """Return the number of images of the whole run as far as it is known: done, this group, waiting shards."""
        for shard in self.waiting:
            if shard not in self._missing_counts:
                self._missing_counts[shard] = count_missing(self.home, self.space.id, shard)
        return self.embedded + self.failed + to_embed + sum(self._missing_counts[shard] for shard in self.waiting)

    def _fetch_from_tables(self, contents: Collection[str]) -> set[str]:
        """Copy embeddings of these contents from any shard's table to the pending ones; return the contents found.

        A file that was renamed or copied has its embedding in another shard.
        """
        fetched: set[str] = set()
        for shard in self.home.shards:
            if len(fetched) == len(contents):
                break
            stored = StoredContents(self.home, self.space.id, shard)
            stored.drop_outdated({name: self.decodings[name] for name in contents if name in self.decodings})
            available = sorted((set(contents) - fetched) & stored.row_of.keys(), key=stored.row_of.__getitem__)
            self._copy_to_pending(stored, available)
            fetched.update(available)
        return fetched

    def _copy_to_pending(self, stored: StoredContents, contents: Sequence[str]) -> None:
        for part in batches(contents, tables.EMBEDDING_GROUP_ROWS):
            self.pending.put_many((content, stored.get(content)) for content in part)

    def _embed(self, contents: dict[str, list[str]]) -> dict[str, EmbeddingResult]:
        """Embed contents, given with their paths, into the pending vectors.

        Returns:
            The results that the next run tries again, by content; they are not stored.
        """
        retried: dict[str, EmbeddingResult] = {}
        unsaved: list[tuple[str, EmbeddingResult]] = []
        load_started = time.monotonic()
        self.embedder.load()
        self.times.load += time.monotonic() - load_started
        self.total = self._expected_total(len(contents))
        started, earlier_seconds = time.monotonic(), self.seconds
        results = self._results(contents)
        try:
            for content, result in results:
                if result.status in RETRIED_STATUSES:
                    retried[content] = result
                else:
                    unsaved.append((content, with_decoding(result, self.decodings.get(content, ""))))
                self.embedded += result.vector is not None
                self.failed += result.vector is None
                self.seconds = earlier_seconds + time.monotonic() - started
                done = self.embedded + self.failed
                self.progress(Progress("images", done, max(done, self.total), self.seconds))
                if len(unsaved) >= CHECKPOINT_IMAGES:
                    self._start_write(partial(self.pending.put_many, unsaved))
                    unsaved = []
        finally:
            results.close()
            # A run that is stopped keeps its vectors, too.
            self._start_write(partial(self.pending.put_many, unsaved))
            self._wait_for_write()
            self.seconds = earlier_seconds + time.monotonic() - started
        return retried

    def _results(self, contents: dict[str, list[str]]) -> Generator[tuple[str, EmbeddingResult]]:
        """Yield the result of each content, from this process or from the cluster."""
        settings = self.home.settings
        if self.cluster is None or not can_embed(self.cluster, self.embedder):
            each = embed_files(
                self.embedder,
                contents.items(),
                self.home.images,
                max_pixels=settings.max_pixels,
                max_bytes=settings.max_bytes,
                times=self.times,
            )
        else:
            each = embed_on_cluster(self.cluster, self.embedder, contents, self.home, self.times)
        with closing(each) as results:
            yield from refuse_broken_model(results, self.embedder)

    def _write_shard(
        self, plan: ShardPlan, retried: dict[str, EmbeddingResult], embedded: Collection[str]
    ) -> ShardEmbeddings:
        """Write a shard's table unless it is current; `embedded` are the contents that this run has embedded."""
        report = ShardEmbeddings(plan.shard, rows=plan.images.num_rows)
        self.engines.update(plan.stored.engines)
        if plan.is_current:
            report.statuses = Counter(status for _, _, status in plan.stored.rows)
            report.reused = report.rows
            return report
        self._keep_removed(plan)
        metadata = (
            self.space.as_metadata()
            | EmbeddingsMetadata(
                space=self.space.id,
                dim=self.space.dim,
                shard=plan.shard,
                shards=self.home.record.shards,
                decoder=DECODER_VERSION,
            ).as_metadata()
        )
        path = tables.embeddings_path(self.home.warehouse, self.space.id, plan.shard)
        with tables.writer(path, tables.embeddings_schema(self.space.dim), metadata) as writer:
            for start in range(0, plan.images.num_rows, tables.EMBEDDING_GROUP_ROWS):
                part = plan.images.slice(start, tables.EMBEDDING_GROUP_ROWS).to_pydict()
                results = self._results_of(plan, part["sha256"], retried)
                writer.write_table(self._as_table(part, results), row_group_size=tables.EMBEDDING_GROUP_ROWS)
                self._add_to_report(report, part, results, embedded)
        report.written = True
        return report

    def _keep_removed(self, plan: ShardPlan) -> None:
        """Copy embeddings that leave the table to the pending ones: their files may have moved to another shard."""
        row_of = plan.stored.row_of
        removed = sorted(row_of.keys() - set(plan.images["sha256"].to_pylist()), key=row_of.__getitem__)
        self._copy_to_pending(plan.stored, removed)

    def _results_of(
        self, plan: ShardPlan, contents: Sequence[str], retried: dict[str, EmbeddingResult]
    ) -> list[EmbeddingResult]:
        missing = [content for content in contents if content in plan.missing]
        pending = self.pending.get_many(missing)
        # A run on other shards that needs the same content may have moved it from the pending ones to its table.
        if moved := [content for content in missing if content not in pending and content not in retried]:
            self._fetch_from_tables(set(moved))
            pending |= self.pending.get_many(moved)
        return [
            plan.stored.get(content)
            if content in plan.stored.row_of
            else pending[content]
            if content in pending
            else retried[content]
            for content in contents
        ]

    def _as_table(self, part: dict[str, list[str]], results: Sequence[EmbeddingResult]) -> pa.Table:
        dim = self.space.dim
        values = np.zeros((len(results), dim), dtype=np.float32)
        is_null = np.ones(len(results), dtype=bool)
        for row, result in enumerate(results):
            if result.vector is not None:
                values[row], is_null[row] = result.vector, False
        if unusable_vectors(values[~is_null]).any():
            raise TableError(
                "A vector to be written is zero or not finite", remedy="remove the home's work folder and run again"
            )
        columns = [
            part["path"],
            part["sha256"],
            [result.status for result in results],
            [result.error for result in results],
            [result.engine for result in results],
        ]
        embedding = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), dim, mask=pa.array(is_null))
        arrays = [pa.array(column, pa.string()) for column in columns]
        return pa.Table.from_arrays([*arrays, embedding], schema=tables.embeddings_schema(dim))

    def _add_to_report(
        self,
        report: ShardEmbeddings,
        part: dict[str, list[str]],
        results: Sequence[EmbeddingResult],
        embedded: Collection[str],
    ) -> None:
        for path, content, result in zip(part["path"], part["sha256"], results, strict=True):
            report.statuses[result.status] += 1
            report.reused += content not in embedded
            if result.engine:
                self.engines.add(split_engine(result.engine)[0])
            if result.vector is None:
                report.unusable.append((path, result.status, result.error or ""))
            elif content in embedded and len(report.examples) < _EXAMPLES:
                report.examples.append(path)
