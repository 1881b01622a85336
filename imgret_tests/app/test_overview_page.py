"""The page Overview over a home without images, without most tables, and without a graph; trying a threshold."""

from dataclasses import replace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from imgret_assets.app.components import threshold_picker
from imgret_assets.app.views import overview_page
from imgret_assets.domain.analysis.calibration import ThresholdReport, ThresholdRow
from imgret_assets.domain.analysis.threshold_samples import ThresholdSamples
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.operations.overview import read_overview
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_search import FakeServer, page_test
from imgret_tests.support.odd_files import saved
from imgret_tests.support.pictures import picture
from imgret_tests.support.tree import put


@pytest.fixture
def page(home_environment: None) -> AppTest:
    return page_test("overview")


def test_an_empty_library_is_reported_with_the_next_step(page: AppTest, server: FakeServer) -> None:
    page.run()
    assert not page.exception
    assert "The library is empty" in page.info[0].value
    assert not page.metric


@pytest.mark.usefixtures("library")
def test_missing_tables_are_named_with_the_next_step(page: AppTest, server: FakeServer) -> None:
    page.run()
    assert not page.exception
    assert {metric.label: metric.value for metric in page.metric}["Files"] == "12"
    states = dict(page.dataframe[0].value[["asset", "state"]].itertuples(index=False))
    assert states.pop("raw_images") == "current"
    assert set(states.values()) == {"missing"}
    assert "similarity\\_report" in page.warning[0].value
    assert "imgret run" in page.warning[0].value
    assert any("no similarity report yet" in caption.value for caption in page.caption)
    assert any("no run of this home" in caption.value for caption in page.caption)


@pytest.mark.usefixtures("library")
def test_raw_files_beside_a_jpeg_are_counted_apart(page: AppTest, server: FakeServer, home: Home) -> None:
    put(home.images, "a.nef", b"FUJIFILMCCD-RAW")
    put(home.images, "a.jpg", saved(picture(1), "JPEG"))
    refresh_manifest(home)
    page.run()
    assert not page.exception
    assert {metric.label: metric.value for metric in page.metric}["Unusable"] == "0"
    assert any("1 camera raw file beside a JPEG" in caption.value for caption in page.caption)


@pytest.mark.usefixtures("library")
def test_an_approximate_table_is_named_with_its_recall(
    page: AppTest, server: FakeServer, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = "Pairs table. Approximate (32 of 2000 cells): at least 98.20% with 95 % confidence."
    overview = read_overview(home, None)
    monkeypatch.setattr(overview_page, "read_overview", lambda *_: replace(overview, caveats=(sentence,)))
    page.run()
    assert not page.exception
    assert any("at least 98.20% with 95 % confidence" in info.value.replace("\\", "") for info in page.info)


@pytest.mark.usefixtures("library")
def test_the_tables_are_shown_while_the_database_is_down(page: AppTest, server: FakeServer) -> None:
    server.state = None
    page.run()
    assert not page.exception
    assert "imgret run" in page.error[0].value
    assert page.dataframe[0].value["asset"].tolist() == ["raw_images"]


@pytest.fixture
def with_report(monkeypatch: pytest.MonkeyPatch, library: list[str]) -> None:
    """A report whose pairs become fewer by ten with every hundredth, and pairs of the library's images."""
    rows = [
        ThresholdRow(number / 100, 10.0 * (100 - number), 0.0, 100 - number, 0.0, 0.5, 0.25)
        for number in range(50, 100)
    ]
    report = ThresholdReport("m", 12, 12, rows, [], [], 0.2, 0.1, None, None, None, 0, None, 0.7, "because.")
    samples = ThresholdSamples(library, np.array([0, 2, 4]), np.array([1, 3, 5]), np.array([0.55, 0.69, 0.99996]))
    monkeypatch.setattr(overview_page, "read_threshold_report", lambda *_: report)
    monkeypatch.setattr(threshold_picker, "load_threshold_samples", lambda *_: samples)


@pytest.mark.usefixtures("with_report")
def test_a_threshold_starts_at_that_of_the_graph(page: AppTest, server: FakeServer, home: Home) -> None:
    assert server.state
    server.state["threshold"] = 0.8
    page.run()
    assert not page.exception
    figures = {metric.label: (metric.value, metric.delta) for metric in page.metric}
    assert figures["Pairs"] == ("200", "as now")
    assert figures["Related images of 12"] == ("20", "as now")
    assert page.code[0].value == f"imgret run --threshold 0.8 --home {home.path}"
    assert [text.value for text in page.markdown if text.value in ("**0.9999**", "**0.6900**", "**0.5500**")] == [
        "**0.9999**",
        "**0.6900**",
        "**0.5500**",
    ]


@pytest.mark.usefixtures("with_report")
@pytest.mark.parametrize(
    ("threshold", "pairs", "change", "above"),
    [
        (0.6, "400", "200 more than now", ["**0.6900**", "**0.9999**"]),
        (0.99, "10", "190 fewer than now", ["**0.9999**"]),
    ],
)
def test_a_dragged_threshold_shows_its_pairs_and_the_command(
    page: AppTest,
    server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    threshold: float,
    pairs: str,
    change: str,
    above: list[str],
) -> None:
    assert server.state
    server.state["threshold"] = 0.8
    monkeypatch.setattr(threshold_picker, "live_slider", lambda *_, **__: threshold)
    page.run()
    assert not page.exception
    metric = next(metric for metric in page.metric if metric.label == "Pairs")
    assert (metric.value, metric.delta) == (pairs, change)
    assert f"--threshold {threshold:g} " in page.code[0].value
    shown = [text.value for text in page.markdown]
    start, end = (shown.index(f"**{title}**") for title in ("Just above: related", "Just below: not related"))
    assert shown[start + 1 : end] == above
