"""The map on the page Graph: its points, the selected image, the list of the lasso, the text without a table."""

import numpy as np
import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from imgret_assets.app.components.map_canvas import MapEvent
from imgret_assets.app.graph_chart.map_points import COLOURINGS, MapPoints
from imgret_assets.app.views import map_view
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.table_metadata import GroupsMetadata, MapMetadata
from imgret_assets.domain.storage.tables import GROUPS_SCHEMA, MAP_SCHEMA, groups_path, map_path
from imgret_tests.support.fake_search import FakeServer, page_test


class FakeCanvas:
    """Stands for the map in the browser: records what is drawn, answers with an event once."""

    def __init__(self) -> None:
        self.points: MapPoints | None = None
        self.colour_by = ""
        self.selected: int | None = None
        self.event = MapEvent()

    def __call__(self, points: MapPoints, *, colour_by: str, selected: int | None, key: str) -> MapEvent:
        self.points, self.colour_by, self.selected = points, colour_by, selected
        event, self.event = self.event, MapEvent()
        return event


@pytest.fixture
def canvas(monkeypatch: pytest.MonkeyPatch) -> FakeCanvas:
    fake = FakeCanvas()
    monkeypatch.setattr(map_view, "map_canvas", fake)
    return fake


@pytest.fixture
def page(home_environment: None, server: FakeServer, library: list[str], canvas: FakeCanvas) -> AppTest:
    return page_test("graph")


def write_map(home: Home, space: str, paths: list[str], coverage: str = "now") -> None:
    rng = np.random.default_rng(3)
    rows = [
        {"path": path, "x": x, "y": y} for path, (x, y) in zip(paths, rng.normal(size=(len(paths), 2)), strict=True)
    ]
    metadata = MapMetadata(space=space, coverage=coverage, method="test", placed=0).as_metadata()
    tables.write(map_path(home.warehouse, space), pa.Table.from_pylist(rows, MAP_SCHEMA), metadata)


@pytest.fixture
def space(server: FakeServer) -> str:
    assert server.state
    return server.state["model"]


@pytest.fixture
def mapped(home: Home, space: str, library: list[str]) -> list[str]:
    write_map(home, space, library)
    return library


def captions(page: AppTest) -> str:
    return " ".join(caption.value for caption in page.caption)


def test_without_the_table_the_page_says_how_to_make_it_and_offers_an_image(page: AppTest, canvas: FakeCanvas) -> None:
    page.run()
    assert not page.exception
    assert "map table is missing" in page.error[0].value
    assert "imgret run" in page.error[0].value
    assert "image\\_map" in page.error[0].value
    assert canvas.points is None
    assert page.selectbox(key="graph-pick")


def test_all_images_are_on_the_map_in_the_chosen_colours(page: AppTest, canvas: FakeCanvas, mapped: list[str]) -> None:
    page.run()
    assert not page.exception
    assert not page.warning
    assert canvas.points is not None
    assert list(canvas.points.paths) == mapped
    assert canvas.colour_by == "group"
    assert canvas.selected is None
    assert [each.name for each in canvas.points.colourings] == list(COLOURINGS)
    assert set(canvas.points.colouring("folder").codes) == set(range(1, 1 + len({p.split("/")[0] for p in mapped})))
    page.segmented_control(key="colour").set_value("status").run()
    assert canvas.colour_by == "status"


def test_a_click_selects_an_image_and_the_address_names_it(
    page: AppTest, canvas: FakeCanvas, mapped: list[str]
) -> None:
    canvas.event = MapEvent(picked=3)
    page.run()
    assert page.text[0].value == mapped[3]
    assert page.query_params["at"] in (mapped[3], [mapped[3]])
    assert "40 × 30 px" in captions(page)
    assert "no group" in captions(page)
    page.run()
    assert canvas.selected == 3


def test_the_selected_image_and_those_of_the_list_lead_to_other_pages(
    page: AppTest, canvas: FakeCanvas, mapped: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr(map_view, "open_page", lambda name, **query: opened.append((name, query)))
    page.query_params["at"] = mapped[2]
    page.run()
    page.button(key="map-similar").click().run()
    page.button(key="map-graph").click().run()
    assert opened == [("search", {"image": mapped[2]}), ("graph", {"image": mapped[2]})]


def test_a_link_to_any_other_file_selects_nothing(page: AppTest, canvas: FakeCanvas, mapped: list[str]) -> None:
    page.query_params["at"] = "../../etc/passwd"
    page.run()
    assert not page.exception
    assert canvas.selected is None
    assert "Click an image" in captions(page)


def test_the_lasso_makes_a_list_until_it_is_cleared(page: AppTest, canvas: FakeCanvas, mapped: list[str]) -> None:
    canvas.event = MapEvent(chosen=np.array([1, 4, 5]))
    page.run()
    assert page.subheader[0].value == "3 images selected"
    assert page.dataframe[0].value["path"].tolist() == [mapped[1], mapped[4], mapped[5]]
    assert page.button(key="list-search").disabled
    page.run()
    assert len(page.dataframe) == 1
    page.button(key="list-clear").click().run()
    assert not page.dataframe


def test_the_list_can_be_downloaded(page: AppTest, canvas: FakeCanvas, mapped: list[str], home: Home) -> None:
    canvas.event = MapEvent(chosen=np.array([0, 7]))
    page.run()
    assert [button.label for button in page.download_button] == ["List of files", "CSV", "Album (one HTML file)"]


def test_a_map_of_an_earlier_state_is_shown_with_what_it_lacks(
    page: AppTest, canvas: FakeCanvas, home: Home, space: str, library: list[str]
) -> None:
    write_map(home, space, [*library[:9], "gone/away.png"])
    page.run()
    assert canvas.points is not None
    assert list(canvas.points.paths) == library[:9]
    assert "it lacks 3 images" in page.warning[0].value
    assert "imgret run" in page.warning[0].value


def test_a_map_of_other_embeddings_than_the_groups_is_of_an_earlier_state(
    page: AppTest, home: Home, space: str, mapped: list[str]
) -> None:
    rows = [{"path": path, "group": path, "representative": True, "score": 1.0, "size": 1} for path in mapped]
    metadata = GroupsMetadata(
        space=space, coverage="later", method="test", requested_min_score=None, min_score=0.5
    ).as_metadata()
    tables.write(groups_path(home.warehouse, space), pa.Table.from_pylist(rows, GROUPS_SCHEMA), metadata)
    page.run()
    assert "earlier state" in page.warning[0].value


def test_changed_groups_change_the_colours(
    page: AppTest, canvas: FakeCanvas, home: Home, space: str, mapped: list[str]
) -> None:
    page.run()
    assert canvas.points is not None
    before = canvas.points.version
    assert set(canvas.points.colouring("group").codes) == {0}
    rows = [
        {"path": path, "group": mapped[0], "representative": not place, "score": 1 - place / 10, "size": 2}
        for place, path in enumerate(mapped[:2])
    ]
    tables.write(groups_path(home.warehouse, space), pa.Table.from_pylist(rows, GROUPS_SCHEMA), {})
    page.run()
    assert canvas.points.version != before
    assert canvas.points.colouring("group").codes.tolist() == [1, 1, *[0] * 10]
