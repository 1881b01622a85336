"""The manifest: one row for every candidate image file, refreshed so that it matches the files.

Belongs here: which files have to be inspected again, the manifest's rows and metadata, the guards against an unmounted
or exchanged image root. Not here: walking the folders (`domain.images.files`), the candidates of a walk
(`domain.images.listing_spool`), inspecting a file (`domain.images.file_inspection`), reading labels and usable paths
(`domain.images.labels`, `domain.images.library`).
"""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from imgret_assets.domain.images.decode import DECODER_VERSION
from imgret_assets.domain.images.decoder_crashes import watching
from imgret_assets.domain.images.file_formats import TIFF
from imgret_assets.domain.images.file_inspection import INSPECTION_VERSION, inspect_file
from imgret_assets.domain.images.files import WalkCounts, check_roots, walk
from imgret_assets.domain.images.image_status import FINE_STATUSES, Status
from imgret_assets.domain.images.listing_spool import Listing, spool_candidates
from imgret_assets.domain.images.optional_decoders import DECODERS, decodable_formats, decoder_versions
from imgret_assets.domain.images.raw_pairs import shot_stamp, shot_times
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.domain.storage import atomic_files, locks, tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.home_record import read_record
from imgret_assets.domain.storage.table_metadata import ManifestMetadata
from imgret_assets.domain.storage.verification import discard_damaged
from imgret_assets.errors import RootError, VanishedFilesError
from imgret_assets.image_roots import ImageRoots
from imgret_assets.object_url import is_url
from imgret_assets.wording import counted

# A file written in the clock tick of the listing can change again without its times showing it.
RACY_NS = 2_000_000_000
# So many files may vanish at once, whatever share of all they are.
GUARD_MINIMUM = 20
# Added or changed paths that a shard's report names.
_EXAMPLES = 32
# Statuses that have their cause outside the file: it may be usable now although its size and times are the same.
_INSPECTED_AGAIN = frozenset({Status.VANISHED, Status.UNREADABLE, Status.LOOP, Status.OUTSIDE_ROOT})

Row = dict[str, Any]


@dataclass
class ShardScan:
    """Report on the scan of one shard.

    Attributes:
        shard: its key.
        rows: number of manifest rows.
        statuses: number of rows by status.
        added, changed, removed: number of files that appeared, have other content, or are gone.
        opened: number of files whose bytes were read.
        reinspected: number of unchanged files whose header was read because an older version wrote their rows.
        written: whether the table was written; an unchanged one is not.
        examples: some usable paths that were added or changed.
        unusable: path, status and reason of each row that is neither ok nor a further file of an image.
    """

    shard: str
    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    added: int = 0
    changed: int = 0
    removed: int = 0
    opened: int = 0
    reinspected: int = 0
    written: bool = False
    examples: list[str] = field(default_factory=list)
    unusable: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass
class ScanReport:
    """Report on a scan of the image root.

    Attributes:
        root: the image roots.
        shards: one report for each shard.
        ignored, hidden, linked_folders: number of names that are no candidates (`WalkCounts`).
        replaced_root: the former image roots if these are others.
        files: number of candidates by the name of their root, those of all shards.
        seconds: duration of the scan.
    """

    root: ImageRoots
    shards: list[ShardScan]
    ignored: int
    hidden: int
    linked_folders: int
    replaced_root: str | None
    seconds: float
    files: Mapping[str, int] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The report in a line."""
        rows, opened, added, changed, removed = (
            sum(getattr(shard, name) for shard in self.shards)
            for name in ("rows", "opened", "added", "changed", "removed")
        )
        new_root = (
            f"The contents of {self.replaced_root} are replaced by those of {self.root}. " if self.replaced_root else ""
        )
        if self.root.is_named:
            new_root += "".join(f"{name}: {counted(self.files.get(name, 0), 'file')}. " for name in self.root.names)
        reinspected = sum(shard.reinspected for shard in self.shards)
        if reinspected:
            new_root += (
                f"The headers of {counted(reinspected, 'unchanged file')} were read again, once, because this version "
                "reads more from them (such as date and camera), decodes some images otherwise or has other decoders. "
            )
        if not opened and not removed and not added:
            opened_text = "no other file was opened" if reinspected else "no file was opened"
            return f"{new_root}{counted(rows, 'file')} listed under {self.root}, none changed: {opened_text}."
        return (
            f"{new_root}{counted(rows, 'file')} listed under {self.root} in {self.seconds:.1f} s: "
            f"{added:,} added, {changed:,} changed, {removed:,} removed, {opened:,} opened."
        )


def refresh_manifest(
    home: Home,
    shards: Sequence[str] | None = None,
    *,
    verify: bool = False,
    allow_deletes: bool = False,
) -> ScanReport:
    """Refresh the manifest of the shards so that it matches the files under the home's image roots.

    Only files whose size, times or inode changed are opened. Tables of unchanged shards are not written.

    Args:
        home: the home; its `images` are the image roots.
        shards: keys of the shards; all where None.
        verify: open every file, whatever its size and times are.
        allow_deletes: go on although most known files have vanished.

    Raises:
        RootError: a root is missing, or they are not the former ones while only some shards are refreshed.
        SettingError: two roots are the same folder, or one lies in another.
        VanishedFilesError: more than half of the known files of all roots or of one, and more than 20, are gone; or
            one of several roots is empty that had files.
        LockTimeoutError: another run holds one of the shards.
    """
    started = time.monotonic()
    selected = list(home.shards if shards is None else shards)
    roots = check_roots(home.images)
    names = [locks.shard_lock(shard) for shard in selected]
    with home.hold(names, "listing images"), watching(home.work / "decoding"):
        discard_damaged(home, [tables.manifest_path(home.warehouse, shard) for shard in selected], always=verify)
        replaced_root = _check_replaced_root(home, roots, selected)
        home = home.update(root=str(roots))
        counts = WalkCounts()
        with _temporary_folder(home.work) as folder:
            listed_from_ns = time.time_ns()
            listing = spool_candidates(walk(roots, counts), folder, selected, home.record.shards, roots)
            window_ns = (listed_from_ns, time.time_ns())
            scanners = [_ShardScanner(home, roots, shard, window_ns, listing, verify) for shard in selected]
            if not allow_deletes:
                _guard_vanished(home, roots, scanners, listing)
            with ThreadPoolExecutor(max_workers=min(8, 2 * usable_threads())) as pool:
                scans = [scanner.run(pool) for scanner in scanners]
    seconds = time.monotonic() - started
    names_found = (counts.ignored, counts.hidden, counts.linked_folders)
    return ScanReport(roots, scans, *names_found, replaced_root, seconds, listing.files)


def read_manifest_metadata(home: Home, shard: str) -> ManifestMetadata | None:
    """Read the metadata of a shard's manifest; None where there is no manifest, or one that names no root.

    Raises:
        TableError: the manifest is damaged.
    """
    path = tables.manifest_path(home.warehouse, shard)
    return ManifestMetadata.from_metadata(tables.read_metadata(path)) if path.is_file() else None


@contextmanager
def _temporary_folder(work: Path) -> Iterator[Path]:
    with atomic_files.named_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="scan-", dir=work) as folder:
            yield Path(folder)


def _check_replaced_root(home: Home, root: ImageRoots, selected: Sequence[str]) -> str | None:
    """Return the former root if this one replaces it."""
    former_root = (read_record(home.path) or home.record).root
    if former_root in (None, str(root)):
        return None
    if set(selected) != set(home.shards):
        raise RootError(
            f"The image root is {root}, but this home was built from {former_root}",
            expected="all shards at once when the root changes, or the former root",
            remedy="run `imgret run --images DIR` or a backfill of all shards, or set IMGRET_IMAGES back",
        )
    return former_root


def _guard_vanished(home: Home, roots: ImageRoots, scanners: "Sequence[_ShardScanner]", listing: Listing) -> None:
    known, vanished = Counter[str](), Counter[str]()
    for scanner in scanners:
        paths = scanner.known_paths()
        known.update(map(roots.name_of, paths))
        vanished.update(map(roots.name_of, paths - listing.paths(scanner.shard)))
    # Of the other shards only the number of files is compared. That is enough to notice an unmounted root, too.
    if vanished and not listing.unlistable_folders:
        others = _known_files(home, roots, sorted(set(home.shards) - {scanner.shard for scanner in scanners}))
        known += others
        vanished += others - listing.unselected_files
    for name, folder in roots.folders if roots.is_named else ():
        where = f"the image root {name}, {folder}"
        if vanished[name] and not listing.files[name]:
            raise _vanished_error(vanished[name], known[name], where)
        _check_vanished(vanished[name], known[name], where)
    _check_vanished(vanished.total(), known.total(), str(roots))


def _known_files(home: Home, roots: ImageRoots, shards: Sequence[str]) -> Counter[str]:
    """Return how many files the manifests of shards have, by the name of their root."""
    known = Counter[str]()
    for shard in shards:
        metadata = read_manifest_metadata(home, shard)
        if metadata is None or metadata.root != str(roots):
            continue
        table = tables.manifest_path(home.warehouse, shard)
        if roots.is_named:
            known.update(map(roots.name_of, tables.read(table, ["path"])["path"].to_pylist()))
        else:
            known[""] += tables.count_rows(table)
    return known


def _check_vanished(vanished: int, known: int, where: str) -> None:
    if vanished > GUARD_MINIMUM and 2 * vanished > known:
        raise _vanished_error(vanished, known, where)


def _vanished_error(vanished: int, known: int, where: str) -> VanishedFilesError:
    return VanishedFilesError(
        f"{vanished:,} of {known:,} known files have vanished from {where}",
        expected="most of them to exist; an unmounted or emptied folder looks like this",
        remedy="mount it again, or go on with `imgret run --allow-deletes`; nothing was deleted",
    )


class _ShardScanner:
    """Scan of one shard: compares its known rows with the listing, and writes its new rows."""

    def __init__(
        self, home: Home, roots: ImageRoots, shard: str, window_ns: tuple[int, int], listing: Listing, verify: bool
    ) -> None:
        self.home = home
        self.shard = shard
        self.listing = listing
        self.verify = verify
        self.unlistable_folders = tuple(listing.unlistable_folders)
        self.table = tables.manifest_path(home.warehouse, shard)
        metadata = read_manifest_metadata(home, shard)
        # Rows of another root are useless: there, the same path is another file.
        former = roots if metadata is None or metadata.root == str(roots) else ImageRoots.parse(metadata.root)
        self._knows_all = former == roots
        self._known_names = roots.continued_names(former)
        self._name_of = roots.name_of
        self.known_metadata = metadata if self._known_names else None
        self.new_metadata = ManifestMetadata(
            root=str(roots),
            shard=shard,
            shards=home.record.shards,
            max_pixels=home.settings.max_pixels,
            fingerprint=str(listing.fingerprints[shard]),
            listed_from_ns=window_ns[0],
            listed_to_ns=window_ns[1],
            decoder=DECODER_VERSION,
            inspection=INSPECTION_VERSION,
            decoders=decoder_versions(),
        )

    def known_paths(self) -> set[str]:
        """Return the paths known under the same root, without those in folders that can't be listed now."""
        if self.known_metadata is None:
            return set()
        paths = tables.read(self.table, ["path"])["path"].to_pylist()
        return {path for path in paths if self._is_known(path) and not self._in_unlistable_folder(path)}

    def run(self, pool: ThreadPoolExecutor) -> ShardScan:
        """Make the shard's new rows, and write them if they differ."""
        scan = ShardScan(self.shard)
        stored = [] if self.known_metadata is None else tables.read(self.table).to_pylist()
        known = {_key(row): row for row in stored if self._is_known(row["path"])}
        rows = [row for row in known.values() if self._in_unlistable_folder(row["path"])]
        any_known_inspected = False
        to_inspect: list[Row] = []
        needs_inspection = self._needs_inspection_anew()
        for row in self.listing.rows(self.shard):
            known_row = known.get(_key(row))
            if row["status"] is not None:
                rows.append(row)
            elif known_row is not None and not self.verify and self._is_same_file(row, known_row):
                is_older = needs_inspection(known_row)
                if known_row["sha256"] is not None and (is_older or not self._is_same_shot(row, known_row)):
                    to_inspect.append({**row, "sha256": known_row["sha256"]})
                    scan.reinspected += is_older
                else:
                    # How many names a file has, and where a link leads, is known from the listing alone.
                    rows.append(known_row | {key: row[key] for key in ("hard_links", "link")})
            else:
                any_known_inspected = any_known_inspected or known_row is not None
                to_inspect.append(row)
        scan.opened = len(to_inspect) - scan.reinspected
        settings = self.home.settings
        rows.extend(pool.map(lambda row: inspect_file(row, settings.max_pixels, settings.max_bytes), to_inspect))
        for row in rows:
            row.pop("location", None)
        self._count_differences(rows, known, scan)
        rows.sort(key=lambda row: (row["path"], row["status"]))
        table = pa.Table.from_pylist(rows, schema=tables.MANIFEST_SCHEMA)
        any_difference = bool(scan.added or scan.changed or scan.removed)
        if any_difference or any_known_inspected or not self._equals_stored(table):
            tables.write(self.table, table, self.new_metadata.as_metadata())
            scan.written = True
        scan.rows = table.num_rows
        scan.statuses = Counter(table["status"].to_pylist())
        scan.unusable = [
            (row["path"], row["status"], row["error"] or "") for row in rows if row["status"] not in FINE_STATUSES
        ]
        return scan

    def _is_known(self, path: str) -> bool:
        """Return whether a stored path means the same file as before, or one of a root that has left."""
        return self._knows_all or self._name_of(path) in self._known_names

    def _in_unlistable_folder(self, path: str) -> bool:
        return path.startswith(self.unlistable_folders)

    def _needs_inspection_anew(self) -> Callable[[Row], bool]:
        """Return a function that says whether the header of an unchanged file is read again, by its known row.

        Another version of the program inspected the files, so that all headers tell more now; or the decoders besides
        Pillow are others, which concerns what had none, what has lost its own, and a TIFF, which may be a camera raw
        file.
        """
        stored = self.known_metadata
        if stored is not None and (stored.decoder, stored.inspection) != (DECODER_VERSION, INSPECTION_VERSION):
            return lambda _row: True
        if stored is None or stored.decoders == self.new_metadata.decoders:
            return lambda _row: False
        lost = set(DECODERS) - set(decodable_formats())
        return lambda row: row["status"] == Status.UNSUPPORTED or row["format"] in {TIFF, *lost}

    def _is_same_file(self, row: Row, known_row: Row) -> bool:
        """Return whether a listed file is certainly the one that the known row describes."""
        metadata = self.known_metadata
        is_object = is_url(os.fsdecode(row["location"]))
        compared = ("bytes", "inode") if is_object else ("bytes", "mtime_ns", "ctime_ns", "inode")
        if metadata is None or any(row[key] != known_row[key] for key in compared):
            return False
        if known_row["status"] in _INSPECTED_AGAIN:
            return False
        if known_row["status"] == Status.TOO_LARGE and metadata.max_pixels != self.home.settings.max_pixels:
            return False
        # A file with more bytes than allowed has no hash: it was not read.
        was_read = known_row["sha256"] is not None
        if was_read != (row["bytes"] <= self.home.settings.max_bytes):
            return False
        # Each content of an object has an ETag of its own, however soon it follows the one before.
        return is_object or not self._is_racy([row["mtime_ns"], row["ctime_ns"]])

    def _is_same_shot(self, row: Row, known_row: Row) -> bool:
        """Return whether the JPEG files beside a camera raw file are certainly those that its known row was made of."""
        settings, metadata = self.home.settings, self.known_metadata
        if shot_stamp(row["shot"], max_bytes=settings.max_bytes) != known_row.get("shot"):
            return False
        # As for any file, another limit is of no concern to an image that is listed, and may admit one that was not.
        may_be_admitted = row["shot"] is not None and known_row["status"] != Status.RAW_OF_IMAGE
        if may_be_admitted and metadata is not None and metadata.max_pixels != settings.max_pixels:
            return False
        return not self._is_racy(shot_times(row["shot"]))

    def _is_racy(self, times_ns: Sequence[int]) -> bool:
        """Return whether a file with such times may have changed in the clock tick of the last listing."""
        metadata = self.known_metadata
        if metadata is None:
            return True
        earliest, latest = metadata.listed_from_ns - RACY_NS, metadata.listed_to_ns + RACY_NS
        return any(earliest < time < latest for time in times_ns)

    def _count_differences(self, rows: Sequence[Row], known: dict[tuple[str, bool], Row], scan: ShardScan) -> None:
        present = set()
        for row in rows:
            known_row = known.get(_key(row))
            present.add(_key(row))
            if known_row is None:
                scan.added += 1
            elif (known_row["sha256"], known_row["status"]) != (row["sha256"], row["status"]):
                scan.changed += 1
            else:
                continue
            if row["status"] == Status.OK and len(scan.examples) < _EXAMPLES:
                scan.examples.append(row["path"])
        scan.removed = len(known.keys() - present)

    def _equals_stored(self, table: pa.Table) -> bool:
        """Return whether the stored table has the same rows and the same metadata, apart from the time of listing."""
        stored = self.known_metadata
        same_metadata = stored is not None and all(
            getattr(stored, name) == getattr(self.new_metadata, name)
            for name in ("root", "shards", "max_pixels", "fingerprint", "decoder", "inspection", "decoders")
        )
        return same_metadata and tables.read(self.table).equals(table)


def _key(row: Row) -> tuple[str, bool]:
    # The displayed form of a name that is not UTF-8 may be the real name of another file.
    return row["path"], row["status"] == Status.BAD_NAME
