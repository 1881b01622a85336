"""Keeping the manifest equal to the files: which there are, what they are, which have changed.

Belongs here: `refresh_manifest` and its guards. Not here: walking (`domain.images.files`), file formats
(`domain.images.decode`), where tables are (`domain.storage.tables`).
"""

import hashlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from imgret_assets.domain.images.decode import Status, UnusableImageError, read_header
from imgret_assets.domain.images.files import (
    Candidate,
    Fingerprint,
    WalkCounts,
    check_root,
    label_of,
    shard_of,
    status_of_os_error,
    walk,
)
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.domain.storage import atomic_files, locks, tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.home_record import read_record, shard_keys
from imgret_assets.errors import RootError, VanishedFilesError

# A file written in the same clock tick as it was listed can change again without its times showing it.
RACY_NS = 2_000_000_000
GUARD_MINIMUM = 20
_SPOOL_ROWS = 8192
_HASH_CHUNK = 1 << 20
_CANDIDATE_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("location", pa.binary()),
        ("bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("ctime_ns", pa.int64()),
        ("inode", pa.uint64()),
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)

Row = dict[str, Any]


@dataclass
class ShardScan:
    """What one shard's scan found and did.

    Attributes:
        shard: its key.
        rows: manifest rows.
        statuses: rows by status.
        added, changed, removed: files that appeared, have other content, or are gone.
        opened: files whose bytes were read.
        written: whether the table was written; an unchanged one is not.
        examples: some paths that were added or changed and are usable.
        unusable: path, status and reason of each row that is not ok.
    """

    shard: str
    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    added: int = 0
    changed: int = 0
    removed: int = 0
    opened: int = 0
    written: bool = False
    examples: list[str] = field(default_factory=list)
    unusable: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass
class ScanReport:
    """What a scan found over all its shards."""

    root: Path
    shards: list[ShardScan]
    ignored: int
    hidden: int
    linked_folders: int
    replaced_root: str | None
    seconds: float

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        rows, opened, added, changed, removed = (
            sum(getattr(shard, name) for shard in self.shards)
            for name in ("rows", "opened", "added", "changed", "removed")
        )
        new_root = (
            f"The contents of {self.replaced_root} are replaced by those of {self.root}. " if self.replaced_root else ""
        )
        if not opened and not removed and not added:
            return f"{new_root}{rows:,} files listed under {self.root}, none changed: no file was opened."
        return (
            f"{new_root}{rows:,} files listed under {self.root} in {self.seconds:.1f} s: "
            f"{added:,} added, {changed:,} changed, {removed:,} removed, {opened:,} opened."
        )


def refresh_manifest(
    home: Home,
    shards: Sequence[str] | None = None,
    *,
    verify: bool = False,
    allow_deletes: bool = False,
) -> ScanReport:
    """Bring the manifest of the shards up to date with the files under the home's image root.

    Only files whose size, times or inode changed are opened. Tables of unchanged shards are not written.

    Args:
        home: the home; its `images` is the root.
        shards: keys of the shards to refresh; all where None.
        verify: open every file, whatever the file system says.
        allow_deletes: go on although most known files have vanished.

    Raises:
        RootError: the root is missing, or another one than before while only some shards are refreshed.
        VanishedFilesError: more than half of the known files, and more than 20, are gone.
        LockTimeoutError: another run works on one of the shards.
    """
    started = time.monotonic()
    selected = list(home.shards if shards is None else shards)
    root = check_root(home.images)
    with home.hold([locks.shard_lock(shard) for shard in selected], "listing images"):
        replaced = _check_replaced_root(home, root, selected)
        home = home.update(root=str(root))
        counts = WalkCounts()
        with _scratch(home.work) as folder:
            listed_from = time.time_ns()
            listing = _spool(walk(root, counts), folder, selected, home.record.shards)
            window = (listed_from, time.time_ns())
            scans = [_ShardScanner(home, root, shard, folder, window, listing, verify) for shard in selected]
            if not allow_deletes:
                _guard_vanished(home, root, scans, listing)
            with ThreadPoolExecutor(max_workers=min(8, 2 * usable_threads())) as pool:
                results = [scan.run(pool) for scan in scans]
    return ScanReport(
        root, results, counts.ignored, counts.hidden, counts.linked_folders, replaced, time.monotonic() - started
    )


@contextmanager
def _scratch(work: Path) -> Iterator[Path]:
    with atomic_files.named_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="scan-", dir=work) as folder:
            yield Path(folder)


def _check_replaced_root(home: Home, root: Path, selected: Sequence[str]) -> str | None:
    """The former root, if this one replaces it."""
    former = (read_record(home.path) or home.record).root
    if former in (None, str(root)):
        return None
    if set(selected) != set(home.shards):
        raise RootError(
            f"The image root is {root}, but this home was built from {former}",
            expected="all shards at once when the root changes, or the former root",
            remedy="run `imgret run --images DIR` or a backfill of all shards, or set IMGRET_IMAGES back",
        )
    return former


@dataclass
class _Listing:
    """What a walk found besides the candidates themselves.

    Attributes:
        hidden: folders that could not be listed, with a slash: files known in them stay known.
        fingerprints: of the candidates of every shard, selected or not.
    """

    hidden: list[str]
    fingerprints: dict[str, Fingerprint]


def _spool(candidates: Iterable[Candidate], folder: Path, selected: Sequence[str], shards: int) -> _Listing:
    """Write the candidates to one file a shard, so that a walk of any size needs little memory."""
    wanted = set(selected)
    pending: dict[str, list[Candidate]] = {shard: [] for shard in selected}
    sinks: dict[str, pa.ipc.RecordBatchStreamWriter] = {}
    listing = _Listing([], {shard: Fingerprint() for shard in shard_keys(shards)})
    try:
        for shard in selected:
            sinks[shard] = pa.ipc.new_stream(str(folder / f"{shard}.arrow"), _CANDIDATE_SCHEMA)
        for candidate in candidates:
            if candidate.hides_folder:
                listing.hidden.append(candidate.path + "/")
            shard = shard_of(candidate.path, shards)
            listing.fingerprints[shard].add(candidate)
            if shard not in wanted:
                continue
            pending[shard].append(candidate)
            if len(pending[shard]) >= _SPOOL_ROWS:
                sinks[shard].write_batch(_candidate_batch(pending[shard]))
                pending[shard].clear()
        for shard, rest in pending.items():
            if rest:
                sinks[shard].write_batch(_candidate_batch(rest))
    finally:
        for sink in sinks.values():
            sink.close()
    return listing


def _candidate_batch(candidates: Sequence[Candidate]) -> pa.RecordBatch:
    columns = [
        [c.path for c in candidates],
        [os.fsencode(c.location) for c in candidates],
        [c.bytes for c in candidates],
        [c.mtime_ns for c in candidates],
        [c.ctime_ns for c in candidates],
        [c.inode for c in candidates],
        [c.status for c in candidates],
        [c.error for c in candidates],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _CANDIDATE_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_CANDIDATE_SCHEMA)


def _guard_vanished(home: Home, root: Path, scans: "Sequence[_ShardScanner]", listing: _Listing) -> None:
    known = vanished = 0
    for scan in scans:
        paths = scan.known_paths()
        known += len(paths)
        vanished += len(paths - scan.listed_paths())
    # Of the other shards only the numbers are known, but an unmounted root shows in them just as well.
    for shard in sorted(set(home.shards) - {scan.shard for scan in scans}) if vanished and not listing.hidden else ():
        table = tables.manifest_path(home.warehouse, shard)
        if table.is_file() and tables.read_metadata(table).get("root") == str(root):
            rows = tables.count_rows(table)
            known += rows
            vanished += max(0, rows - listing.fingerprints[shard].files)
    if vanished > GUARD_MINIMUM and 2 * vanished > known:
        raise VanishedFilesError(
            f"{vanished:,} of {known:,} known files have vanished from {root}",
            expected="most of them to be there; an unmounted or emptied folder looks like this",
            remedy="mount it again, or go on with `imgret run --allow-deletes`; nothing was deleted",
        )


class _ShardScanner:
    """One shard's part of a scan: what was known, what is listed, what becomes of it."""

    def __init__(
        self,
        home: Home,
        root: Path,
        shard: str,
        spool: Path,
        window: tuple[int, int],
        listing: _Listing,
        verify: bool,
    ) -> None:
        self.home = home
        self.root = root
        self.shard = shard
        self.spool = spool / f"{shard}.arrow"
        self.window = window
        self.hidden = tuple(listing.hidden)
        self.fingerprint = str(listing.fingerprints[shard])
        self.verify = verify
        self.table = tables.manifest_path(home.warehouse, shard)
        self.metadata = tables.read_metadata(self.table) if self.table.is_file() else {}

    def known_paths(self) -> set[str]:
        """Paths known under the same root, those in folders that can't be listed now left out."""
        if self.metadata.get("root") != str(self.root):
            return set()
        paths = tables.read(self.table, ["path"])["path"].to_pylist()
        return {path for path in paths if not path.startswith(self.hidden)} if self.hidden else set(paths)

    def listed_paths(self) -> set[str]:
        """Paths the walk met."""
        with pa.ipc.open_stream(str(self.spool)) as stream:
            return {path for batch in stream for path in batch["path"].to_pylist()}

    def run(self, pool: ThreadPoolExecutor) -> ShardScan:
        """Make the shard's new rows and write them if they differ."""
        result = ShardScan(self.shard)
        known = self._known_rows()
        rows = [row for row in known.values() if self.hidden and row["path"].startswith(self.hidden)]
        reread = False
        to_open: list[Row] = []
        for row in self._listed_rows():
            before = known.get(_key(row))
            if row["status"] is not None or (before and not self.verify and self._same_file(row, before)):
                rows.append(before if row["status"] is None and before else row)
            else:
                reread = reread or before is not None
                to_open.append(row)
        result.opened = len(to_open)
        max_pixels = self.home.settings.max_pixels
        rows.extend(pool.map(lambda row: examine(row, max_pixels), to_open))
        for row in rows:
            row.pop("location", None)
        self._compare(rows, known, result)
        new = self._as_table(rows)
        changed = bool(result.added or result.changed or result.removed)
        same = not changed and not reread and self.table.is_file() and self._equals_old(new)
        if not same:
            tables.write(self.table, new, self._new_metadata())
            result.written = True
        result.rows = new.num_rows
        result.statuses = Counter(new["status"].to_pylist())
        result.unusable = [
            (row["path"], row["status"], row["error"] or "") for row in rows if row["status"] != Status.OK
        ]
        return result

    def _known_rows(self) -> dict[tuple[str, bool], Row]:
        # Rows of another root are of no use: the same path is another file there.
        if self.metadata.get("root") != str(self.root):
            return {}
        return {_key(row): row for row in tables.read(self.table).to_pylist()}

    def _listed_rows(self) -> Iterator[Row]:
        with pa.ipc.open_stream(str(self.spool)) as stream:
            for batch in stream:
                for row in batch.to_pylist():
                    empty = dict.fromkeys(("sha256", "width", "height", "format"))
                    yield {**row, **empty, "label": label_of(row["path"])}

    def _same_file(self, row: Row, before: Row) -> bool:
        if any(row[key] != before[key] for key in ("bytes", "mtime_ns", "ctime_ns", "inode")):
            return False
        if before["status"] in (Status.VANISHED, Status.UNREADABLE, Status.LOOP, Status.OUTSIDE_ROOT):
            return False
        if before["status"] == Status.TOO_LARGE and self.metadata.get("max_pixels") != str(
            self.home.settings.max_pixels
        ):
            return False
        low, high = (int(self.metadata.get(key, 0)) for key in ("listed_from_ns", "listed_to_ns"))
        return not any(low - RACY_NS < row[key] < high + RACY_NS for key in ("mtime_ns", "ctime_ns"))

    def _compare(self, rows: Sequence[Row], known: dict[tuple[str, bool], Row], result: ShardScan) -> None:
        present = set()
        for row in rows:
            before = known.get(_key(row))
            present.add(_key(row))
            if before is None:
                result.added += 1
            elif (before["sha256"], before["status"]) != (row["sha256"], row["status"]):
                result.changed += 1
            else:
                continue
            if row["status"] == Status.OK and len(result.examples) < 32:
                result.examples.append(row["path"])
        result.removed = len(known.keys() - present)

    def _equals_old(self, new: pa.Table) -> bool:
        keys = ("root", "shards", "max_pixels", "fingerprint")
        fresh = self._new_metadata()
        return all(self.metadata.get(key) == fresh[key] for key in keys) and tables.read(self.table).equals(new)

    def _as_table(self, rows: list[Row]) -> pa.Table:
        rows.sort(key=lambda row: (row["path"], row["status"]))
        return pa.Table.from_pylist(rows, schema=tables.MANIFEST_SCHEMA)

    def _new_metadata(self) -> dict[str, str]:
        low, high = self.window
        return {
            "root": str(self.root),
            "shard": self.shard,
            "shards": str(self.home.record.shards),
            "max_pixels": str(self.home.settings.max_pixels),
            "fingerprint": self.fingerprint,
            "listed_from_ns": str(low),
            "listed_to_ns": str(high),
        }


def _key(row: Row) -> tuple[str, bool]:
    # What is shown of a name that is not UTF-8 may be the very name of another file.
    return row["path"], row["status"] == Status.BAD_NAME


def examine(row: Row, max_pixels: int) -> Row:
    """Open a listed file: its hash, and its size in pixels and format, or the status that says why not.

    Args:
        row: a listed row, with the file's `location` as bytes; completed and returned.
        max_pixels: a picture with more pixels is `too_large`.
    """
    try:
        with open(os.fsdecode(row["location"]), "rb") as file:  # noqa: PTH123
            digest = hashlib.sha256()
            while chunk := file.read(_HASH_CHUNK):
                digest.update(chunk)
            row["sha256"] = digest.hexdigest()
            if file.tell() == 0:
                row["status"], row["error"] = Status.EMPTY, "the file has no bytes"
                return row
            file.seek(0)
            header = read_header(file, max_pixels=max_pixels)
    except UnusableImageError as problem:
        row["status"], row["error"] = problem.status, problem.reason
    except OSError as error:
        row["status"], row["error"] = status_of_os_error(error)
    else:
        row.update(width=header.width, height=header.height, format=header.format, status=Status.OK, error=None)
    return row
