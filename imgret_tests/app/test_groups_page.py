"""The page Groups: order, filters, one group with its members, its name, its exports, the split."""

import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from imgret_assets.domain.review.group_list import BY_SIZE, BY_TIGHTNESS, list_groups
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import GROUPS_SCHEMA, groups_path
from imgret_tests.support.fake_search import FakeServer, page_test

ROWS = [
    ("x/a.png", "x/a.png", 1.0),
    ("x/b.png", "x/a.png", 0.9),
    ("y/c.png", "x/a.png", 0.4),
    ("y/d.png", "y/d.png", 1.0),
    ("y/e.png", "y/d.png", 0.95),
    ("z/f.png", "z/f.png", 1.0),
]


def test_groups_are_ordered_by_size_or_tightness_and_ungrouped_images_are_counted() -> None:
    groups = list_groups(ROWS)
    assert groups.ungrouped == 1
    assert [group.name for group in groups.select(order=BY_SIZE, label=None, min_size=2)] == ["x/a.png", "y/d.png"]
    assert [group.name for group in groups.select(order=BY_TIGHTNESS, label=None, min_size=2)] == [
        "y/d.png",
        "x/a.png",
    ]
    assert [group.name for group in groups.select(order=BY_SIZE, label="x", min_size=2)] == ["x/a.png"]
    assert groups.select(order=BY_SIZE, label=None, min_size=4) == []
    assert [group.name for group in groups.select(order=BY_SIZE, label=None, min_size=2, named=["y/d.png"])] == [
        "y/d.png"
    ]
    assert (groups.group_of("y/c.png"), groups.group_of("z/f.png")) == ("x/a.png", None)


def test_a_group_has_its_representative_first_and_can_be_split() -> None:
    group = list_groups(reversed(ROWS)).find("x/a.png")
    assert group is not None
    assert [member.path for member in group.members] == ["x/a.png", "x/b.png", "y/c.png"]
    assert (group.size, group.lowest_score, group.labels) == (3, 0.4, {"x": 2, "y": 1})
    staying, leaving = group.split_at(0.5)
    assert ([member.path for member in staying], [member.path for member in leaving]) == (
        ["x/a.png", "x/b.png"],
        ["y/c.png"],
    )


@pytest.fixture
def page(home_environment: None, home: Home, server: FakeServer, library: list[str]) -> AppTest:
    assert server.state
    rows_of_table = [(library[0], library[0], 1.0), (library[1], library[0], 0.9), (library[5], library[0], 0.4)]
    rows_of_table += [(path, path, 1.0) for path in library[6:]]
    rows = [
        {"path": path, "group": group, "representative": path == group, "score": score, "size": 3, "community": 0}
        for path, group, score in rows_of_table
    ]
    path = groups_path(home.warehouse, server.state["model"])
    tables.write(path, pa.Table.from_pylist(rows, GROUPS_SCHEMA), {})
    return page_test("groups")


def test_the_list_shows_sizes_and_scores(page: AppTest) -> None:
    page.run()
    assert not page.exception
    assert any("1 of 1 group ·" in caption.value for caption in page.caption)
    assert any("3 images" in element.value and "lowest score 0.400" in element.value for element in page.markdown)


def test_a_link_opens_a_group_and_a_member_opens_it_too(page: AppTest, library: list[str]) -> None:
    for name in (library[0], library[1]):
        page.query_params["group"] = name
        page.run()
        assert not page.exception
        assert [text.value for text in page.text][1:] == [library[0], library[1], library[5]]
        badges = " ".join(element.value for element in page.markdown)
        assert "representative" in badges
        assert "lowest score" in badges


def test_splitting_shows_the_members_that_would_leave(page: AppTest, library: list[str]) -> None:
    page.query_params["group"] = library[0]
    page.run()
    page.slider(key="split").set_value(0.5).run()
    assert not page.exception
    assert "1 would leave" in [element.value for element in page.subheader]


def test_a_group_is_named_and_the_list_shows_its_name(page: AppTest, library: list[str]) -> None:
    page.query_params["group"] = library[0]
    page.run()
    page.text_input[0].set_value("Beach *2024*").run()
    assert not page.exception
    assert page.subheader[0].value == "Beach \\*2024\\*"
    assert page.text_input[0].value == "Beach *2024*"
    del page.query_params["group"]
    page.run()
    assert any("Beach" in element.value for element in page.markdown)
    page.toggle(key="named").set_value(True).run()
    assert any("1 of 1 group ·" in caption.value for caption in page.caption)


def test_a_refused_name_is_shown_with_the_reason(page: AppTest, library: list[str]) -> None:
    page.query_params["group"] = library[0]
    page.run()
    page.text_input[0].set_value("a\x07b").run()
    assert "one line" in page.error[0].value


def test_a_group_is_exported_as_a_list_an_album_and_a_folder_of_links(page: AppTest, library: list[str]) -> None:
    page.query_params["group"] = library[1]
    page.run()
    assert not page.exception
    assert [button.label for button in page.download_button] == [
        "List of files",
        "Album (one HTML file)",
        "Scores as CSV",
    ]
    assert f"imgret groups {library[0]} --as links --to FOLDER" in page.code[0].value


def test_an_image_without_a_group_is_reported(page: AppTest, library: list[str]) -> None:
    page.query_params["group"] = library[7]
    page.run()
    assert "is not in a group" in page.info[0].value


def test_without_the_table_the_next_step_is_shown(page: AppTest, home: Home, server: FakeServer) -> None:
    assert server.state
    groups_path(home.warehouse, server.state["model"]).unlink()
    page.run()
    assert not page.exception
    assert "The groups table is missing" in page.error[0].value
    assert "imgret run" in page.error[0].value
