"""What a cosine means in one embedding space: how many pairs each threshold gives, and how many of them are right.

Belongs here: counting, the suggestion, the report's files. Not here: ranking measures
(`domain.analysis.ranking_quality`), whether ranking again helps (`domain.similarity.query_expansion`), drawing
(`domain.analysis.threshold_plot`).
"""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain.analysis.calibration import Report, Row, calibrate
from imgret_assets.domain.analysis.rerank_gain import Gain
from imgret_assets.domain.embeddings.table_reader import Listing, list_embeddings, read_vectors
from imgret_assets.domain.images.labels import labels_of
from imgret_assets.domain.similarity.neighbours_table import load_neighbours
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.derived_tables import NEAREST, THRESHOLDS
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.input_snapshots import read_snapshot, snapshot_matches, write_snapshot
from imgret_assets.domain.storage.table_metadata import ThresholdsMetadata
from imgret_assets.domain.storage.tables import THRESHOLDS_SCHEMA

_VERSION = "2"
# A report is good for a collection of which no more than this share has come, gone or changed since: one picture in
# fifty moves no figure further than the chance of its samples does.
KEPT_CHANGE = 0.02
_KIND = "report"


def plot_path(warehouse: Path, space: str) -> Path:
    """Picture of the same; not beside the table, so that the table's folder holds tables alone."""
    return warehouse / "reports" / f"model={space}" / "similarity.png"


def refresh_threshold_report(home: Home, space: str, *, anew: bool = False) -> Report:
    """Bring the report's table and picture up to date.

    Its figures are kept while no more than `KEPT_CHANGE` of the images have come, gone or got another vector since
    they were computed; it says how many have.

    Args:
        home: the home.
        space: id of the embedding space.
        anew: compute them whatever has changed.

    Raises:
        TableError, StaleTableError: tables are missing or don't belong together.
        LockTimeoutError: another run writes pairs or the graph.
    """
    from imgret_assets.domain.analysis import threshold_plot

    with home.hold([locks.GRAPH], "reporting cosines"):
        started = time.monotonic()
        listing = list_embeddings(home, space)
        NEAREST.require_current(home.warehouse, space, listing.coverage)
        path, picture = tables.thresholds_path(home.warehouse, space), plot_path(home.warehouse, space)
        report = None if anew else _still_good(home, space, listing)
        if report is not None:
            if not picture.is_file():
                threshold_plot.draw(report, picture)
            return report
        neighbours = load_neighbours(home, space)
        labels = labels_of(home, listing.paths)
        nearest = neighbours.scores[:, 0] if neighbours.scores.shape[1] else np.full(len(labels), -np.inf)
        report = calibrate(space, read_vectors(home, space, listing), listing.vector_keys, labels, nearest)
        threshold_plot.draw(report, picture)
        # First what goes with the table, as for the pairs: the table names it.
        write_snapshot(home, _KIND, space, listing.paths, listing.vector_keys, listing.coverage)
        table = pa.Table.from_pylist([asdict(row) for row in report.rows], schema=THRESHOLDS_SCHEMA)
        metadata = _metadata_of(report, listing.coverage, computed_for=listing.coverage)
        tables.write(path, table, metadata.as_metadata())
        return replace(report, seconds=time.monotonic() - started)


def _still_good(home: Home, space: str, listing: Listing) -> Report | None:
    """The report that is there, if it is good for these images; its table then says that it has been looked at."""
    path = tables.thresholds_path(home.warehouse, space)
    metadata = THRESHOLDS.metadata(home.warehouse, space)
    if metadata is None or (metadata.space, metadata.version) != (space, _VERSION):
        return None
    if THRESHOLDS.current_metadata(home.warehouse, space, listing.coverage):
        return _restored(path, metadata)
    if not snapshot_matches(home, _KIND, space, metadata.computed_for):
        return None
    before = dict(zip(*read_snapshot(home, _KIND, space), strict=True))
    now = listing.key_of
    # Labels are folders: another label is another path.
    changed = len({path for path, _ in before.items() ^ now.items()})
    if changed > KEPT_CHANGE * min(len(before), len(now)):
        return None
    report = replace(_restored(path, metadata), changed_since=changed)
    new_metadata = _metadata_of(report, listing.coverage, computed_for=metadata.computed_for)
    tables.write(path, tables.read(path), new_metadata.as_metadata())
    return report


def _metadata_of(report: Report, coverage: str, *, computed_for: str) -> ThresholdsMetadata:
    facts = {key: value for key, value in asdict(report).items() if key not in ("rows", "written", "seconds")}
    return ThresholdsMetadata(
        space=report.space,
        coverage=coverage,
        version=_VERSION,
        report=json.dumps(facts),
        computed_for=computed_for,
    )


def read_threshold_report(home: Home, space: str) -> Report | None:
    """The report as its table has it, whether or not that is up to date; None where there is none of this version.

    Raises:
        TableError: the table is damaged.
    """
    metadata = THRESHOLDS.metadata(home.warehouse, space)
    if metadata is None or metadata.version != _VERSION:
        return None
    return _restored(tables.thresholds_path(home.warehouse, space), metadata)


def _restored(path: Path, metadata: ThresholdsMetadata) -> Report:
    facts: dict[str, Any] = json.loads(metadata.report)
    rows = [Row(**row) for row in tables.read(path).to_pylist()]
    gain = Gain(**facts.pop("gain")) if facts["gain"] else facts.pop("gain")
    return Report(**facts, gain=gain, rows=rows, written=False)
