"""Counts against every pair written out; the advice; the files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from imgret_assets.domain.analysis import calibration, threshold_plot, threshold_report
from imgret_assets.domain.analysis.calibration import (
    THRESHOLDS,
    Row,
    calibrate,
    count_above,
    lower_spread,
    sampled_rows,
    suggestion,
    suggestion_unlabelled,
    threshold_rows,
)
from imgret_assets.domain.analysis.threshold_report import plot_path, refresh_threshold_report
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.embeddings.table_reader import list_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.similarity.brute_force import plain_nearest
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.input_snapshots import snapshot_path
from imgret_assets.domain.storage.tables import THRESHOLDS_SCHEMA, thresholds_path
from imgret_assets.errors import StaleTableError
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes, write_pictures
from imgret_tests.support.tree import put, stamps


def collection(rng: np.random.Generator, count: int) -> tuple[np.ndarray, list[str | None]]:
    groups = rng.integers(0, 5, count)
    vectors = (rng.normal(size=(5, 12))[groups] + rng.normal(0, 0.7, (count, 12))).astype(np.float32)
    return vectors, [None if row % 7 == 3 else f"label{group}" for row, group in enumerate(groups)]


def cosines(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize("count", [1, 2, 90])
def test_each_threshold_is_counted_exactly(rng: np.random.Generator, count: int) -> None:
    vectors, labels = collection(rng, count)
    scores = cosines(vectors)
    nearest = plain_nearest(vectors, 1)[1][:, 0] if count > 1 else np.full(1, -np.inf)
    rows = threshold_rows(count_above(vectors, labels, np.arange(count)), count, nearest, 0.0, 0.1)
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    known = [(a, b) for a, b in pairs if labels[a] and labels[b]]
    right = [(a, b) for a, b in known if labels[a] == labels[b]]
    assert [row.threshold for row in rows] == THRESHOLDS.tolist()
    for row in rows:
        above = [(a, b) for a, b in pairs if scores[a, b] > row.threshold]
        assert (row.pairs, row.pairs_error) == (len(above), 0.0)
        assert row.images == len({image for pair in above for image in pair})
        known_above = set(above) & set(known)
        if known_above:
            assert row.precision == pytest.approx(len(known_above & set(right)) / len(known_above))
            wrong = len(known_above) - len(known_above & set(right))
            assert row.false_pairs == pytest.approx(row.pairs * wrong / len(known_above))
        else:
            assert row.precision is None
        assert row.recall == (pytest.approx(len(set(above) & set(right)) / len(right)) if right else None)


def test_a_sample_s_interval_holds_the_truth(rng: np.random.Generator) -> None:
    """With 95 of 100 intervals right, a dozen samples of ten thresholds each miss rarely."""
    vectors, labels = collection(rng, 600)
    nearest = plain_nearest(vectors, 1)[1][:, 0]
    some = THRESHOLDS[:40:4]
    exact = threshold_rows(count_above(vectors, labels, np.arange(600), some), 600, nearest, 0.0, 0.1, some)
    held = tried = 0
    for _ in range(12):
        rows = np.sort(rng.choice(600, 150, replace=False))
        found = threshold_rows(count_above(vectors, labels, rows, some), 600, nearest, 0.0, 0.1, some)
        for truth, row in zip(exact, found, strict=True):
            assert row.pairs_error > 0
            held += abs(row.pairs - truth.pairs) <= row.pairs_error
            tried += 1
        assert found[0].pairs_error < exact[0].pairs
    assert held / tried > 0.85


def test_all_rows_up_to_a_size_and_a_fixed_sample_above() -> None:
    assert sampled_rows(30, exact=30, sample=5).tolist() == list(range(30))
    some = sampled_rows(31, exact=30, sample=5)
    assert len(set(some.tolist())) == 5
    assert some.tolist() == sampled_rows(31, exact=30, sample=5).tolist()


def test_the_background_s_spread_is_that_of_its_lower_half(rng: np.random.Generator) -> None:
    unlike = rng.normal(0.2, 0.05, 50_000)
    ground, spread = lower_spread(np.concatenate([unlike, np.full(500, 0.9)]))
    assert ground == pytest.approx(0.2, abs=0.005)
    assert spread == pytest.approx(0.05, abs=0.005)
    assert lower_spread(np.empty(0)) == (0.0, 0.0)


def test_without_labels_false_pairs_are_the_normal_tail(rng: np.random.Generator) -> None:
    vectors, _ = collection(rng, 50)
    nearest = plain_nearest(vectors, 1)[1][:, 0]
    rows = threshold_rows(count_above(vectors, [None] * 50, np.arange(50)), 50, nearest, 0.3, 0.1)
    # Two deviations above: 2.275 percent.
    assert rows[0].false_pairs == pytest.approx(0.02275 * 1225, rel=1e-3)
    assert all(row.false_pairs <= row.pairs for row in rows)
    assert {(row.precision, row.recall) for row in rows} == {(None, None)}


def row(threshold: float, precision: float | None, pairs: float = 10.0) -> Row:
    return Row(threshold, pairs, 0.0, 5, 0.0, precision, None if precision is None else 0.25)


def test_the_lowest_threshold_from_which_on_all_are_good_enough_is_advised() -> None:
    found, why = suggestion([row(0.5, 0.95), row(0.6, 0.7), row(0.7, 0.91), row(0.8, 0.99), row(0.9, None, 0.0)])
    assert found == 0.7
    assert "91.0% of them are" in why
    assert "25.0% of all right pairs" in why


def test_no_threshold_is_advised_where_none_is_good_enough() -> None:
    found, why = suggestion([row(0.5, 0.1), row(0.9, 0.89)])
    assert found is None
    assert "no threshold" in why


def test_without_labels_the_middle_between_background_and_one_is_advised() -> None:
    found, why = suggestion_unlabelled([row(0.5, None), row(0.61, None), row(0.8, None)], 0.22)
    assert found == 0.61
    assert "no labels" in why


def test_histograms_count_all_pairs_and_all_images(rng: np.random.Generator) -> None:
    vectors, labels = collection(rng, 60)
    nearest = plain_nearest(vectors, 1)[1][:, 0]
    report = calibrate("space", vectors, [str(number) for number in range(60)], labels, nearest)
    assert (sum(report.random), sum(report.nearest)) == (60 * 59 // 2, 60)
    scores = cosines(vectors)[np.triu_indices(60, 1)]
    assert report.random == np.histogram(scores, calibration.BINS)[0].tolist()
    assert report.precision_1 is not None
    assert report.gain is not None


def test_the_picture_keeps_to_its_limit(rng: np.random.Generator, tmp_path: Path) -> None:
    vectors, labels = collection(rng, 60)
    report = calibrate("space", vectors, [str(number) for number in range(60)], labels, np.full(60, 0.9))
    file = tmp_path / "similarity.png"
    threshold_plot.draw(report, file)
    large, small = (threshold_plot.markdown(file, max_bytes=limit) for limit in (64 * 1024, 8 * 1024))
    assert large.startswith("![cosines](data:image/png;base64,")
    assert 0 < len(small) <= 8 * 1024 < len(large) <= 64 * 1024
    assert threshold_plot.markdown(file, max_bytes=100) == ""


# The files

SPACE = FakeEmbedder().space.id


@pytest.fixture
def built(home: Home, settled: None) -> Home:
    write_pictures(home.images, 24)
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    refresh_neighbours(home, SPACE)
    return home


def test_table_and_picture_are_written_and_read_back(built: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first = refresh_threshold_report(built, SPACE)
    table = tables.read(thresholds_path(built.warehouse, SPACE))
    assert table.schema.remove_metadata().equals(THRESHOLDS_SCHEMA)
    assert table["pairs"].to_pylist() == [found.pairs for found in first.rows]
    assert len(pd.read_parquet(built.warehouse / "thresholds")) == 50
    with Image.open(plot_path(built.warehouse, SPACE)) as picture:
        assert picture.size == (1040, 780)
    before = stamps(built.warehouse)
    for name in ("read_vectors", "load_neighbours"):
        monkeypatch.setattr(threshold_report, name, lambda *_: pytest.fail("it was read although nothing has changed"))
    assert refresh_threshold_report(built, SPACE) == replace(first, written=False, seconds=0.0)
    assert stamps(built.warehouse) == before
    plot_path(built.warehouse, SPACE).unlink()
    refresh_threshold_report(built, SPACE)
    assert plot_path(built.warehouse, SPACE).is_file()
    json.loads(tables.read_metadata(thresholds_path(built.warehouse, SPACE))["report"])


def test_other_files_or_labels_are_looked_at_anew(built: Home) -> None:
    refresh_threshold_report(built, SPACE)
    put(built.images, "new.png", picture_bytes(77))
    refresh_manifest(built)
    refresh_embeddings(built, FakeEmbedder())
    with pytest.raises(StaleTableError, match="neighbours table is older"):
        refresh_threshold_report(built, SPACE)
    refresh_neighbours(built, SPACE)
    assert (report := refresh_threshold_report(built, SPACE)).written
    assert (report.images, report.changed_since) == (25, 0)


def _with_one_more(home: Home, name: str) -> None:
    put(home.images, name, picture_bytes(len(name)))
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    refresh_neighbours(home, SPACE)


def test_figures_are_kept_while_few_images_change(built: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threshold_report, "KEPT_CHANGE", 0.1)
    first = refresh_threshold_report(built, SPACE)
    for number in (1, 2):
        _with_one_more(built, f"{'n' * number}.png")
        kept = refresh_threshold_report(built, SPACE)
        assert kept == replace(first, changed_since=number, written=False, seconds=0.0)
        assert f"({number} of the images have changed since.)" in kept.summary
        # Looked at again, it says the same without comparing, and the table says that it is up to date.
        assert refresh_threshold_report(built, SPACE) == kept
        coverage = tables.read_metadata(thresholds_path(built.warehouse, SPACE))["coverage"]
        assert coverage == list_embeddings(built, SPACE).coverage
    assert refresh_threshold_report(built, SPACE, anew=True).images == 26
    # Changes add up: two of 26 are kept, a third is too many.
    for number, written in ((3, False), (4, False), (5, True)):
        _with_one_more(built, f"{'n' * number}.png")
        assert refresh_threshold_report(built, SPACE).written == written


def test_figures_whose_images_are_not_known_are_not_kept(built: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threshold_report, "KEPT_CHANGE", 0.5)
    refresh_threshold_report(built, SPACE)
    snapshot_path(built, "report", SPACE).unlink()
    _with_one_more(built, "new.png")
    assert refresh_threshold_report(built, SPACE).written


def test_an_empty_collection_has_a_report(home: Home, settled: None) -> None:
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    refresh_neighbours(home, SPACE)
    report = refresh_threshold_report(home, SPACE)
    assert (report.images, report.rows[0].pairs, report.precision_1) == (0, 0.0, None)
