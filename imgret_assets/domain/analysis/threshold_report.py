"""The threshold report of an embedding space: its table, its plot, when its figures are computed again.

Belongs here: reading and writing the report. Not here: computing its figures (`domain.analysis.calibration`), drawing
(`domain.analysis.threshold_plot`).
"""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain.analysis import threshold_plot
from imgret_assets.domain.analysis.calibration import ThresholdReport, ThresholdRow, calibrate
from imgret_assets.domain.analysis.duplicate_sets import duplicates_state, read_duplicate_sets
from imgret_assets.domain.analysis.rerank_gain import Gain
from imgret_assets.domain.embeddings.table_reader import Listing, list_embeddings, read_vectors
from imgret_assets.domain.images.labels import labels_of
from imgret_assets.domain.similarity.neighbours_table import load_neighbours
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.derived_tables import NEAREST, THRESHOLDS
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.input_snapshots import read_snapshot, snapshot_matches, snapshot_path, write_snapshot
from imgret_assets.domain.storage.table_metadata import ThresholdsMetadata
from imgret_assets.domain.storage.tables import THRESHOLDS_SCHEMA
from imgret_assets.domain.storage.verification import discard_damaged

VERSION = "3"
# The figures stay valid while at most this share of the images has been added, removed or changed: one image in fifty
# moves no figure further than the random error of its samples does.
MAX_CHANGED_SHARE = 0.02
_SNAPSHOT_KIND = "report"


def plot_path(warehouse: Path, space: str) -> Path:
    """Return the path of the plot. It is outside the table's folder, which has only tables."""
    return warehouse / "reports" / f"model={space}" / "similarity.png"


def refresh_threshold_report(home: Home, space: str, *, force: bool = False) -> ThresholdReport:
    """Refresh the table and the plot of the report.

    The stored figures are kept while at most `MAX_CHANGED_SHARE` of the images have been added, removed or embedded
    again since they were computed; the report states how many have.

    Args:
        home: the home.
        space: id of the embedding space.
        force: compute the figures, whatever has changed.

    Raises:
        TableError: a table is missing.
        StaleTableError: tables don't belong together.
        LockTimeoutError: another run writes pairs or the graph.
    """
    with home.hold([locks.GRAPH], "reporting cosines"):
        started = time.monotonic()
        files = [tables.thresholds_path(home.warehouse, space), snapshot_path(home, _SNAPSHOT_KIND, space)]
        discard_damaged(home, files)
        listing = list_embeddings(home, space)
        NEAREST.require_current(home.warehouse, space, listing.coverage)
        plot = plot_path(home.warehouse, space)
        duplicates = duplicates_state(home)
        report = None if force else _reusable_report(home, space, listing, duplicates)
        if report is not None:
            if not plot.is_file():
                threshold_plot.draw_threshold_report(report, plot)
            return report
        recomputed = _why_recomputed(home, space, duplicates)
        neighbours = load_neighbours(home, space)
        labels = labels_of(home, listing.paths)
        nearest = neighbours.scores[:, 0] if neighbours.scores.shape[1] else np.full(len(labels), -np.inf)
        sets = read_duplicate_sets(home, listing.paths, listing.vector_keys)
        report = calibrate(space, read_vectors(home, space, listing), sets, labels, nearest)
        threshold_plot.draw_threshold_report(report, plot)
        # The snapshot is written before the table, whose metadata refers to it.
        write_snapshot(home, _SNAPSHOT_KIND, space, listing.paths, listing.vector_keys, listing.coverage)
        table = pa.Table.from_pylist([asdict(row) for row in report.rows], schema=THRESHOLDS_SCHEMA)
        metadata = _metadata_of(report, listing.coverage, computed_for=listing.coverage, duplicates=duplicates)
        tables.write(tables.thresholds_path(home.warehouse, space), table, metadata.as_metadata())
        return replace(report, seconds=time.monotonic() - started, recomputed=recomputed)


def _why_recomputed(home: Home, space: str, duplicates: str) -> str:
    """Return a sentence if another version of the program computed the stored figures; empty otherwise."""
    metadata = THRESHOLDS.metadata(home.warehouse, space)
    if metadata is None or (metadata.version == VERSION and metadata.duplicates == duplicates):
        return ""
    if metadata.version == VERSION:
        return "All figures are computed again, because duplicates are found in another way."
    return "All figures are computed again, because near-duplicates are now left out of those with labels."


def _reusable_report(home: Home, space: str, listing: Listing, duplicates: str) -> ThresholdReport | None:
    """Return the stored report if it is valid for these images, after recording this in the table's metadata."""
    path = tables.thresholds_path(home.warehouse, space)
    metadata = THRESHOLDS.metadata(home.warehouse, space)
    if metadata is None or (metadata.space, metadata.version, metadata.duplicates) != (space, VERSION, duplicates):
        return None
    if THRESHOLDS.current_metadata(home.warehouse, space, listing.coverage):
        return _parse_report(path, metadata)
    if not snapshot_matches(home, _SNAPSHOT_KIND, space, metadata.computed_for):
        return None
    snapshot = dict(zip(*read_snapshot(home, _SNAPSHOT_KIND, space), strict=True))
    current = listing.key_of
    # A label is the path's folder, so an image with another label has another path.
    changed = len({path for path, _ in snapshot.items() ^ current.items()})
    if changed > MAX_CHANGED_SHARE * min(len(snapshot), len(current)):
        return None
    report = replace(_parse_report(path, metadata), changed_since=changed)
    new_metadata = _metadata_of(
        report, listing.coverage, computed_for=metadata.computed_for, duplicates=metadata.duplicates
    )
    tables.write(path, tables.read(path), new_metadata.as_metadata())
    return report


def _metadata_of(report: ThresholdReport, coverage: str, *, computed_for: str, duplicates: str) -> ThresholdsMetadata:
    of_this_refresh = ("rows", "written", "seconds", "recomputed")
    figures = {key: value for key, value in asdict(report).items() if key not in of_this_refresh}
    return ThresholdsMetadata(
        space=report.space,
        coverage=coverage,
        version=VERSION,
        report=json.dumps(figures),
        computed_for=computed_for,
        duplicates=duplicates,
    )


def read_threshold_report(home: Home, space: str) -> ThresholdReport | None:
    """Return the stored report, whether or not it is current; None if there is none of this version.

    Raises:
        TableError: the table is damaged.
    """
    metadata = THRESHOLDS.metadata(home.warehouse, space)
    if metadata is None or metadata.version != VERSION:
        return None
    return _parse_report(tables.thresholds_path(home.warehouse, space), metadata)


def _parse_report(path: Path, metadata: ThresholdsMetadata) -> ThresholdReport:
    figures: dict[str, Any] = json.loads(metadata.report)
    gain = figures.pop("gain")
    rows = [ThresholdRow(**row) for row in tables.read(path).to_pylist()]
    return ThresholdReport(**figures, gain=Gain(**gain) if gain else None, rows=rows, written=False)
