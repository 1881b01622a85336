"""The stored threshold report: written, reused while few images change, computed again otherwise."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from imgret_assets.domain.analysis import threshold_plot, threshold_report
from imgret_assets.domain.analysis.threshold_report import (
    plot_path,
    read_threshold_report,
    refresh_threshold_report,
)
from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.embeddings.table_reader import list_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.input_snapshots import snapshot_path
from imgret_assets.domain.storage.tables import THRESHOLDS_SCHEMA, thresholds_path
from imgret_assets.errors import StaleTableError
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.tree import put, stamps

SPACE = FakeEmbedder().space.id


@pytest.fixture
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plot is an empty file: to draw it takes longer than to compute all figures."""

    def touch(_: object, plot: Path) -> None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        plot.touch()

    monkeypatch.setattr(threshold_plot, "draw_threshold_report", touch)


def add_image(home: Home, name: str) -> None:
    put(home.images, name, picture_bytes(len(name)))
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    refresh_neighbours(home, SPACE)


def test_table_and_plot_are_written_and_read_back(built: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_threshold_report(built, SPACE) is None
    first = refresh_threshold_report(built, SPACE)
    table = tables.read(thresholds_path(built.warehouse, SPACE))
    assert table.schema.remove_metadata().equals(THRESHOLDS_SCHEMA)
    assert table["pairs"].to_pylist() == [row.pairs for row in first.rows]
    assert len(pd.read_parquet(built.warehouse / "thresholds")) == 50
    with Image.open(plot_path(built.warehouse, SPACE)) as plot:
        assert plot.size == (1040, 780)
    before = stamps(built.warehouse)
    for name in ("read_vectors", "load_neighbours"):
        monkeypatch.setattr(threshold_report, name, lambda *_: pytest.fail("it was read although nothing has changed"))
    stored = replace(first, written=False, seconds=0.0)
    assert refresh_threshold_report(built, SPACE) == stored
    assert read_threshold_report(built, SPACE) == stored
    assert stamps(built.warehouse) == before
    plot_path(built.warehouse, SPACE).unlink()
    refresh_threshold_report(built, SPACE)
    assert plot_path(built.warehouse, SPACE).is_file()
    json.loads(tables.read_metadata(thresholds_path(built.warehouse, SPACE))["report"])


@pytest.mark.usefixtures("_undrawn")
def test_other_images_are_reported_after_their_neighbours(built: Home) -> None:
    refresh_threshold_report(built, SPACE)
    put(built.images, "new.png", picture_bytes(77))
    refresh_manifest(built)
    refresh_embeddings(built, FakeEmbedder())
    with pytest.raises(StaleTableError, match="neighbours table is older"):
        refresh_threshold_report(built, SPACE)
    refresh_neighbours(built, SPACE)
    report = refresh_threshold_report(built, SPACE)
    assert (report.written, report.images, report.changed_since) == (True, 25, 0)


@pytest.mark.usefixtures("_undrawn")
def test_figures_are_kept_while_few_images_change(built: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threshold_report, "MAX_CHANGED_SHARE", 0.1)
    first = refresh_threshold_report(built, SPACE)
    for number in (1, 2):
        add_image(built, f"{'n' * number}.png")
        kept = refresh_threshold_report(built, SPACE)
        assert kept == replace(first, changed_since=number, written=False, seconds=0.0)
        assert f"({number} of the images have changed since.)" in kept.summary
        # The table is now marked as current, so the next refresh gives the same without comparing.
        assert refresh_threshold_report(built, SPACE) == kept
        coverage = tables.read_metadata(thresholds_path(built.warehouse, SPACE))["coverage"]
        assert coverage == list_embeddings(built, SPACE).coverage
    assert refresh_threshold_report(built, SPACE, force=True).images == 26
    # Changes add up: two of 26 are few enough, three are too many.
    for number, written in ((3, False), (4, False), (5, True)):
        add_image(built, f"{'n' * number}.png")
        assert refresh_threshold_report(built, SPACE).written == written


@pytest.mark.usefixtures("_undrawn")
def test_figures_without_an_input_snapshot_are_not_kept(built: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threshold_report, "MAX_CHANGED_SHARE", 0.5)
    refresh_threshold_report(built, SPACE)
    snapshot_path(built, "report", SPACE).unlink()
    add_image(built, "new.png")
    assert refresh_threshold_report(built, SPACE).written


@pytest.mark.usefixtures("_undrawn")
def test_figures_are_computed_again_once_duplicates_are_known(built: Home) -> None:
    refresh_threshold_report(built, SPACE)
    refresh_duplicates(built, SPACE)
    again = refresh_threshold_report(built, SPACE)
    assert again.written
    assert "computed again, because duplicates are found in another way" in again.summary
    assert not refresh_threshold_report(built, SPACE).written


@pytest.mark.usefixtures("_undrawn")
def test_a_table_of_an_earlier_version_is_computed_again_once(built: Home) -> None:
    refresh_threshold_report(built, SPACE)
    path = thresholds_path(built.warehouse, SPACE)
    metadata = {key: value for key, value in tables.read_metadata(path).items() if key != "duplicates"}
    tables.write(path, tables.read(path), metadata | {"version": "2"})
    assert read_threshold_report(built, SPACE) is None
    again = refresh_threshold_report(built, SPACE)
    assert (again.written, again.summary.startswith("All figures are computed again")) == (True, True)
    kept = refresh_threshold_report(built, SPACE)
    assert (kept.written, kept.recomputed) == (False, "")


@pytest.mark.usefixtures("settled", "_undrawn")
def test_an_empty_collection_has_a_report(home: Home) -> None:
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    refresh_neighbours(home, SPACE)
    report = refresh_threshold_report(home, SPACE)
    assert (report.images, report.rows[0].pairs, report.precision_1) == (0, 0.0, None)
