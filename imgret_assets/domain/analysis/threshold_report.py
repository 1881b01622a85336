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
from imgret_assets.domain.similarity.neighbours_table import check_neighbours, load_neighbours
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.input_snapshots import covered_hash, read_covered, write_covered
from imgret_assets.domain.storage.tables import THRESHOLDS_SCHEMA

_VERSION = "2"
# A report is good for a collection of which no more than this share has come, gone or changed since: one picture in
# fifty moves no figure further than the chance of its samples does.
KEPT_CHANGE = 0.02
_KIND = "report"


def thresholds_path(warehouse: Path, space: str) -> Path:
    """File of what each threshold gives in one embedding space."""
    return warehouse / "thresholds" / f"model={space}" / "thresholds.parquet"


def plot_path(warehouse: Path, space: str) -> Path:
    """Picture of the same; not beside the table, so that the table's folder holds tables alone."""
    return warehouse / "reports" / f"model={space}" / "similarity.png"


def refresh_report(home: Home, space: str, *, anew: bool = False) -> Report:
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

    with locks.held(home.locks, [locks.GRAPH], timeout_s=home.settings.lock_timeout_s, purpose="reporting cosines"):
        started = time.monotonic()
        listing = list_embeddings(home, space)
        check_neighbours(home, space, listing.coverage)
        path, picture = thresholds_path(home.warehouse, space), plot_path(home.warehouse, space)
        report = None if anew else _still_good(home, space, listing)
        if report is not None:
            if not picture.is_file():
                threshold_plot.draw(report, picture)
            return report
        neighbours = load_neighbours(home, space)
        labels = labels_of(home, listing.paths)
        nearest = neighbours.scores[:, 0] if neighbours.scores.shape[1] else np.full(len(labels), -np.inf)
        report = calibrate(space, read_vectors(home, space, listing), listing.contents, labels, nearest)
        threshold_plot.draw(report, picture)
        # First what goes with the table, as for the pairs: the table names it.
        write_covered(home, _KIND, space, listing.paths, listing.contents, listing.coverage)
        table = pa.Table.from_pylist([asdict(row) for row in report.rows], schema=THRESHOLDS_SCHEMA)
        tables.write(path, table, _said(report, listing.coverage, computed_for=listing.coverage))
        return replace(report, seconds=time.monotonic() - started)


def _still_good(home: Home, space: str, listing: Listing) -> Report | None:
    """The report that is there, if it is good for these images; its table then says that it has been looked at."""
    path = thresholds_path(home.warehouse, space)
    metadata = tables.read_metadata(path) if path.is_file() else {}
    computed_for = metadata.get("computed_for", "")
    if (metadata.get("space"), metadata.get("version")) != (space, _VERSION):
        return None
    if metadata.get("coverage") == listing.coverage:
        return _restored(path, metadata)
    if covered_hash(home, _KIND, space) != computed_for:
        return None
    before = dict(zip(*read_covered(home, _KIND, space), strict=True))
    now = dict(zip(listing.paths, listing.contents, strict=True))
    # Labels are folders: another label is another path.
    changed = len({path for path, _ in before.items() ^ now.items()})
    if changed > KEPT_CHANGE * min(len(before), len(now)):
        return None
    report = replace(_restored(path, metadata), changed_since=changed)
    tables.write(path, tables.read(path), _said(report, listing.coverage, computed_for=computed_for))
    return report


def _said(report: Report, coverage: str, *, computed_for: str) -> dict[str, str]:
    facts = {key: value for key, value in asdict(report).items() if key not in ("rows", "written", "seconds")}
    said = {"space": report.space, "version": _VERSION, "report": json.dumps(facts)}
    return said | {"coverage": coverage, "computed_for": computed_for}


def stored_report(home: Home, space: str) -> Report | None:
    """The report as its table has it, whether or not that is up to date; None where there is none of this version.

    Raises:
        TableError: the table is damaged.
    """
    path = thresholds_path(home.warehouse, space)
    metadata = tables.read_metadata(path) if path.is_file() else {}
    return _restored(path, metadata) if metadata.get("version") == _VERSION else None


def _restored(path: Path, metadata: dict[str, str]) -> Report:
    facts: dict[str, Any] = json.loads(metadata["report"])
    rows = [Row(**row) for row in tables.read(path).to_pylist()]
    gain = Gain(**facts.pop("gain")) if facts["gain"] else facts.pop("gain")
    return Report(**facts, gain=gain, rows=rows, written=False)
