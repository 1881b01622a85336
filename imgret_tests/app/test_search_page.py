from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Slider

from imgret_assets.app.components import library_picker
from imgret_assets.app.views import search_page
from imgret_assets.domain.images.crop import PERCENT, Crop
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.models.space_records import ModelChoice, write_space
from imgret_assets.domain.search.query import Query
from imgret_assets.domain.search.query_parts import QueryText, StoredImage
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError, ImageError
from imgret_tests.support.fake_search import FakeSearch, FakeServer, hit, page_test
from imgret_tests.support.pictures import picture_bytes


@pytest.fixture
def page(home_environment: None) -> AppTest:
    return page_test("search")


def texts(page: AppTest) -> str:
    """Return all texts of the page, alerts first."""
    assert not page.exception
    kinds = (page.error, page.warning, page.info, page.markdown, page.caption, page.text, page.subheader)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def upload(page: AppTest, name: str, data: bytes) -> None:
    page.file_uploader[0].upload(name, data, "image/png").run()


def press_similar(page: AppTest, key: str) -> None:
    page.button(key=key).click().run()


def test_the_start_offers_images_to_click(page: AppTest, server: FakeServer, library: list[str]) -> None:
    page.run()
    assert "**12 images** · **3 relationships**" in texts(page)
    assert "start with one of these" in texts(page)
    assert [button.label for button in page.button].count("Similar") == search_page.EXAMPLES
    assert server.opened


def test_samples_come_first(page: AppTest, server: FakeServer, library: list[str], home: Home) -> None:
    (home.path / "queries").mkdir()
    (home.path / "queries/ask.png").write_bytes(picture_bytes(77))
    (home.path / "queries/truth.csv").write_text("no picture")
    page.run()
    assert page.text[0].value == "ask.png"
    assert page.selectbox(key="pick-sample-0").options == ["ask.png"]


def test_an_empty_library_shows_the_next_step_and_starts_no_server(page: AppTest, server: FakeServer) -> None:
    page.run()
    assert "The library is empty" in page.info[0].value
    assert "imgret run" in page.info[0].value
    assert not server.opened


@pytest.mark.usefixtures("library")
def test_a_missing_graph_shows_the_next_step(page: AppTest, server: FakeServer) -> None:
    server.state = None
    page.run()
    assert "holds no graph yet" in page.error[0].value
    assert "imgret run" in page.error[0].value


@pytest.mark.usefixtures("library")
def test_a_rebuild_shows_the_next_step(page: AppTest, server: FakeServer) -> None:
    assert server.state
    server.state["state"] = "rebuilding"
    page.run()
    assert "being rebuilt" in page.error[0].value
    assert "wait for that run" in page.error[0].value


@pytest.mark.usefixtures("library")
def test_a_refresh_is_reported_and_stops_no_search(page: AppTest, server: FakeServer, search: FakeSearch) -> None:
    assert server.state
    server.state["state"] = "refreshing"
    search.refreshing = True
    page.run()
    upload(page, "mine.png", picture_bytes(5))
    assert len(page.warning) == 2
    assert search.queries


def test_the_query_image_is_shown_while_the_database_is_down_and_searched_with_afterwards(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    server.failure = DatabaseError("Neo4j can't be reached", remedy="start it")
    page.run()
    upload(page, "mine.png", picture_bytes(5))
    assert page.error[0].value == r"Neo4j can\'t be reached\. What to do\: start it\."
    assert "mine.png" in texts(page)
    assert not search.queries
    server.failure = None
    search.hits = [hit(library[0], 0.9)]
    next(button for button in page.button if button.label == "Try again").click().run()
    assert library[0] in [text.value for text in page.text]
    assert not page.error


def test_an_upload_is_searched_with_and_its_hits_are_shown(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    search.hits = [hit(library[0], 0.98765, (library[1], 0.91, True)), hit(library[5], 0.5)]
    data = picture_bytes(5)
    page.run()
    upload(page, "mine.png", data)
    image, query = search.queries[-1]
    assert (image.name, image.data, image.path) == ("mine.png", data, None)
    assert query == Query(top_k=24, relations=True)
    shown = texts(page)
    assert "#1 · **0.988**" in shown
    assert "40 × 30 px" in shown
    assert {library[0], library[5], "mine.png"} <= {text.value for text in page.text}
    assert page.expander[0].label == "Table of relationships (1)"
    assert page.dataframe[0].value.to_dict("records") == [{"score": "0.910000", "from": library[0], "to": library[1]}]


def test_an_upload_is_not_written_to_disk(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str], home: Home
) -> None:
    page.run()
    before = sorted(home.path.rglob("*"))
    upload(page, "mine.png", picture_bytes(5))
    assert search.queries
    assert sorted(home.path.rglob("*")) == before


def test_similar_searches_with_the_hit_and_back_returns(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    search.hits = [hit(library[3], 0.9), hit(library[4], 0.8)]
    page.run()
    upload(page, "mine.png", picture_bytes(5))
    press_similar(page, f"hit-0-{library[3]}")
    assert (search.queries[-1][0].name, search.queries[-1][0].path) == (library[3], library[3])
    assert page.query_params["image"] in (library[3], [library[3]])
    assert page.file_uploader[0].value is None
    press_similar(page, f"hit-1-{library[4]}")
    assert page.query_params["image"] in (library[4], [library[4]])
    back = next(button for button in page.button if button.label == "Back")
    back.click().run()
    assert search.queries[-1][0].path == library[3]
    next(button for button in page.button if button.label == "Back").click().run()
    assert search.queries[-1][0].name == "mine.png"
    assert "image" not in page.query_params
    next(button for button in page.button if button.label == "Clear").click().run()
    assert "start with one of these" in texts(page)


def test_a_link_restores_the_view(page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]) -> None:
    for name, value in {"image": library[2], "k": "7", "mode": "exact", "self": "true", "min": "0.25"}.items():
        page.query_params[name] = value
    page.run()
    image, query = search.queries[-1]
    assert image.path == library[2]
    assert query == Query(7, "exact", 0.25, None, exclude_self=False, relations=True)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/hosts.png", "family0/gone.png", "../home/home.json"])
def test_a_link_to_any_other_file_is_refused(page: AppTest, server: FakeServer, search: FakeSearch, path: str) -> None:
    page.query_params["image"] = path
    page.run()
    assert "There is no image" in page.error[0].value
    assert not search.queries


@pytest.mark.usefixtures("library")
def test_values_out_of_range_in_a_link_do_no_harm(page: AppTest, server: FakeServer, search: FakeSearch) -> None:
    for name, value in {"k": "99999", "mode": "magic", "min": "7", "label": "nowhere"}.items():
        page.query_params[name] = value
    page.run()
    assert "start with one of these" in texts(page)


def test_an_image_of_the_library_can_be_picked(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    page.run()
    page.selectbox(key="pick-image-0").select(library[6]).run()
    assert search.queries[-1][0].path == library[6]
    assert page.selectbox(key="pick-image-1").value is None


def test_a_large_library_is_narrowed_by_a_part_of_the_path(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_picker, "MAX_OPTIONS", 5)
    page.run()
    assert page.selectbox(key="pick-image-0").label == "Or an image of the library (the first 5; 7 more)"
    page.sidebar.text_input[0].input("FAMILY1/").run()
    assert page.selectbox(key="pick-image-0").options == [path for path in library if path.startswith("family1/")]


def test_controls_make_the_query(page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]) -> None:
    page.query_params["image"] = library[0]
    page.run()
    page.slider(key="k").set_value(3)
    page.selectbox(key="mode").select("exact")
    page.number_input(key="min").set_value(0.5)
    page.selectbox(key="folder").select("family2")
    page.toggle(key="self").set_value(True)
    page.run()
    assert search.queries[-1][1] == Query(3, "exact", 0.5, folder="family2", exclude_self=False, relations=True)
    assert "No hits" in texts(page)
    assert "lower the minimum score or choose all folders" in texts(page)


def test_folders_with_what_lies_below_and_without_it(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str], listed: Callable[..., Home]
) -> None:
    page.query_params["image"] = library[0]
    page.run()
    assert not [each for each in page.selectbox if each.key == "label"]
    listed([*library, "trips/a.png", "trips/2024/May/b.png"])
    page.run()
    nested = ["trips", "trips/2024", "trips/2024/May"]
    assert page.selectbox(key="folder").options == [*(f"family{number}" for number in range(5)), *nested]
    assert "trips/2024" not in page.selectbox(key="label").options
    page.selectbox(key="label").select("trips").run()
    assert search.queries[-1][1] == Query(top_k=24, relations=True, label="trips")


@pytest.mark.parametrize("name", ["label", "folder"])
def test_a_link_restores_the_folder(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str], name: str
) -> None:
    page.query_params["image"] = library[0]
    page.query_params[name] = "family2"
    page.run()
    assert search.queries[-1][1] == replace(Query(top_k=24, relations=True), **{name: "family2"})
    assert "choose all folders" in texts(page)


def test_dates_and_cameras_filter_where_the_library_has_them(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str], listed: Callable[..., Home]
) -> None:
    page.query_params["image"] = library[0]
    page.run()
    assert not [each for each in page.sidebar.expander if each.label == "Date and camera"]
    taken = datetime.fromisoformat("2024-05-31T10:20:30")
    listed(library, {library[1]: {"taken": taken, "camera": "Canon EOS 5D"}, library[2]: {"camera": "NIKON D90"}})
    page.run()
    assert [each.label for each in page.sidebar.expander] == ["Date and camera"]
    assert page.text_input(key="since").placeholder == page.text_input(key="until").placeholder == "2024-05-31"
    assert page.selectbox(key="camera").options == ["Canon EOS 5D", "NIKON D90"]
    assert search.queries[-1][1] == Query(top_k=24, relations=True)
    page.text_input(key="since").input(" 2024-05 ")
    page.text_input(key="until").input("2024")
    page.selectbox(key="camera").select("NIKON D90")
    page.run()
    expected = Query(top_k=24, relations=True, since="2024-05", until="2024", camera="NIKON D90")
    assert search.queries[-1][1] == expected
    assert r"0 hits since 2024\-05 until 2024 by NIKON D90 · mode index" in texts(page)
    assert "choose other dates or all cameras" in texts(page)


def test_a_link_restores_dates_and_camera(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str], listed: Callable[..., Home]
) -> None:
    taken = datetime.fromisoformat("2024-05-31T10:20:30")
    listed(library, {library[1]: {"taken": taken, "camera": "Canon EOS 5D"}})
    for name, value in {"image": library[2], "since": "2024", "until": "2025-01", "camera": "Canon EOS 5D"}.items():
        page.query_params[name] = value
    page.run()
    expected = Query(top_k=24, relations=True, since="2024", until="2025-01", camera="Canon EOS 5D")
    assert search.queries[-1][1] == expected
    assert page.sidebar.expander[0].proto.expanded


def test_duplicates_are_grouped_unless_switched_off(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    search.hits = [hit(path, 0.9 - number / 10) for number, path in enumerate(library[1:5])]
    server.duplicates = [(library[3], library[1])]
    page.query_params["image"] = library[0]
    page.run()
    assert "#1 · **0.900** · :violet-badge[+1 duplicate]" in texts(page)
    assert "1 duplicate grouped" in texts(page)
    assert library[3] not in [text.value for text in page.text]
    page.toggle(key="fold").set_value(False).run()
    assert library[3] in [text.value for text in page.text]
    assert "badge[+1" not in texts(page)


def test_many_hits_are_shown_in_pages_and_more_can_be_asked_for(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    search.hits = [hit(f"x/{number:03d}.png", 0.9 - number / 1000) for number in range(30)]
    page.query_params["image"] = library[0]
    page.query_params["k"] = "30"
    page.run()
    shown = [text.value for text in page.text if text.value.startswith("x/")]
    assert shown == [f"x/{number:03d}.png" for number in range(24)]
    assert "More hits" not in [button.label for button in page.button]
    page.pagination[0].set_value(2).run()
    shown = [text.value for text in page.text if text.value.startswith("x/")]
    assert shown == [f"x/{number:03d}.png" for number in range(24, 30)]
    assert "#25 · **0.876**" in texts(page)
    next(button for button in page.button if button.label == "More hits").click().run()
    assert search.queries[-1][1].top_k == 54


def test_a_score_just_below_one_is_not_shown_as_one(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    search.hits = [hit(library[1], 0.99999), hit(library[2], 0.9994)]
    page.query_params["image"] = library[0]
    page.run()
    assert texts(page).count("**0.999**") == 2


def test_an_upload_that_is_replaced_is_not_lost(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    """The uploader empties itself first, then it has the new file."""
    page.run()
    upload(page, "first.png", picture_bytes(5))
    key = page.file_uploader[0].key
    page.file_uploader[0].clear().run()
    assert page.file_uploader[0].key == key
    upload(page, "second.png", picture_bytes(6))
    assert search.queries[-1][0].name == "second.png"


@pytest.mark.usefixtures("library")
def test_an_unreadable_upload_is_reported_with_the_cause(page: AppTest, server: FakeServer, search: FakeSearch) -> None:
    search.failure = ImageError("notes.txt can't be used as a query: not_an_image", expected="an image file")
    page.run()
    upload(page, "notes.txt", b"no picture")
    assert "not\\_an\\_image" in page.error[0].value
    assert "notes.txt" in [text.value for text in page.text]


def test_a_query_image_of_the_library_is_reported(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    search.query_paths = [library[0]]
    search.hits = [hit(library[1], 0.9)]
    page.query_params["image"] = library[0]
    page.run()
    assert "(left out)" in texts(page)
    assert "No hit has a relationship" in texts(page)


def test_a_name_like_markup_shows_as_it_is(
    page: AppTest, server: FakeServer, search: FakeSearch, home: Home, listed: Callable[[list[str]], Home]
) -> None:
    names = ["<img src=x onerror=alert(1)>.png", "**x** :smile: $y$.png", "--x_x--0_0--alert(1)--x_x--0_0--.png"]
    for name in names:
        home.images.local(name).write_bytes(picture_bytes(3))
    listed(names)
    search.hits = [hit(name, 0.9, (names[0], 0.9, True)) for name in names[1:]]
    search.query_paths = [names[0]]
    page.query_params["image"] = names[0]
    page.run()
    assert not page.exception
    assert set(names) <= {text.value for text in page.text}
    assert not any(name in element.value for name in names for element in [*page.markdown, *page.caption])


def test_a_hit_without_a_file_can_not_be_searched_with(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str], home: Home
) -> None:
    search.hits = [hit("family0/gone.png", 0.9), hit("../outside.png", 0.8)]
    page.query_params["image"] = library[0]
    page.run()
    assert texts(page).count("file no longer exists") == 2
    assert page.button(key="hit-0-family0/gone.png").disabled
    assert page.button(key="hit-1-../outside.png").disabled


def test_a_wrong_setting_is_reported(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGRET_DEVICE", "toaster")
    page.run()
    assert "toaster" in page.error[0].value


# More like this, less like this


def names_of(search: FakeSearch) -> tuple[list[str], list[str]]:
    """Return the names of what was searched with last, on each side."""
    parts = search.parts[-1]
    return [part.name for part in parts if not part.less], [part.name for part in parts if part.less]


def test_hits_are_marked_and_removed_and_back_returns(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    search.hits = [hit(library[1], 0.9), hit(library[2], 0.8)]
    page.query_params["image"] = library[0]
    page.run()
    assert names_of(search) == ([library[0]], [])
    page.button(key=f"more-hit-0-{library[1]}").click().run()
    page.button(key=f"less-hit-1-{library[2]}").click().run()
    assert names_of(search) == ([library[0], library[1]], [library[2]])
    # Marked hits are images of the graph: their stored vectors count, and no file is read.
    assert [type(part.source) for part in search.parts[-1][1:]] == [StoredImage, StoredImage]
    assert "More like these" in texts(page)
    assert "Less like this" in texts(page)
    link = {name: "".join(page.query_params[name]) for name in ("image", "more", "less")}
    assert link == {"image": library[0], "more": library[1], "less": library[2]}
    page.button(key=f"remove-more-1-{library[1]}").click().run()
    assert names_of(search) == ([library[0]], [library[2]])
    next(button for button in page.button if button.label == "Back").click().run()
    assert names_of(search) == ([library[0], library[1]], [library[2]])
    next(button for button in page.button if button.label == "Clear").click().run()
    assert not {"image", "more", "less"} & set(page.query_params)


def test_a_mark_changes_sides_and_is_never_on_both(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    search.hits = [hit(library[1], 0.9)]
    page.query_params["image"] = library[0]
    page.run()
    page.button(key=f"more-hit-0-{library[1]}").click().run()
    page.button(key=f"less-hit-0-{library[1]}").click().run()
    assert names_of(search) == ([library[0]], [library[1]])
    # The only image that hits can resemble can't be marked as its opposite.
    search.hits = [hit(library[0], 0.9)]
    page.run()
    page.button(key=f"less-hit-0-{library[0]}").click().run()
    assert names_of(search) == ([library[0]], [library[1]])


def test_the_first_image_can_be_removed(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    search.hits = [hit(library[1], 0.9)]
    page.run()
    upload(page, "mine.png", picture_bytes(5))
    page.button(key=f"more-hit-0-{library[1]}").click().run()
    assert names_of(search) == (["mine.png", library[1]], [])
    page.button(key="remove-more-0-mine.png").click().run()
    assert names_of(search) == ([library[1]], [])
    assert page.query_params["image"] in (library[1], [library[1]])


def test_further_images_are_added_to_the_query(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str], home: Home
) -> None:
    (home.path / "queries").mkdir()
    (home.path / "queries/ask.png").write_bytes(picture_bytes(77))
    page.run()
    assert page.toggle(key="add-to-query").disabled
    upload(page, "mine.png", picture_bytes(5))
    page.toggle(key="add-to-query").set_value(True).run()
    page.selectbox(key="pick-image-0").select(library[6]).run()
    page.selectbox(key="pick-sample-1").select("ask.png").run()
    upload(page, "second.png", picture_bytes(6))
    assert names_of(search) == (["mine.png", library[6], "ask.png", "second.png"], [])
    page.file_uploader[0].clear().run()
    upload(page, "third.png", picture_bytes(7))
    assert names_of(search)[0][-2:] == ["second.png", "third.png"]
    page.toggle(key="add-to-query").set_value(False).run()
    page.selectbox(key="pick-image-2").select(library[7]).run()
    assert names_of(search) == ([library[7]], [])


def test_a_link_restores_a_query_of_several_images_and_a_crop(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    page.query_params["image"] = library[0]
    page.query_params["more"] = library[1:3]
    page.query_params["less"] = library[3:5]
    page.query_params["crop"] = "10%,20%,50%,60%"
    page.run()
    assert names_of(search) == (library[:3], library[3:5])
    assert search.parts[-1][0].crop == Crop(10, 20, 50, 60, PERCENT)
    assert "Remove" in [button.label for button in page.button]


@pytest.mark.parametrize("crop", ["nonsense", "90%,0%,50%,50%", ""])
def test_a_crop_that_is_none_in_a_link_shows_the_whole_image(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str], crop: str
) -> None:
    page.query_params["image"] = library[0]
    page.query_params["crop"] = crop
    page.run()
    assert search.parts[-1][0].crop is None


def slider(page: AppTest, label: str) -> Slider:
    return next(element for element in page.slider if element.label.startswith(label))


def test_sliders_crop_the_query_image(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    page.query_params["image"] = library[0]
    page.run()
    slider(page, "From left").set_range(25, 75).run()
    slider(page, "From top").set_range(0, 50).run()
    assert search.parts[-1][0].crop == Crop(25, 0, 50, 50, PERCENT)
    assert page.query_params["crop"] in ("25%,0%,50%,50%", ["25%,0%,50%,50%"])
    slider(page, "From left").set_range(100, 100).run()
    assert search.parts[-1][0].crop == Crop(95, 0, 5, 50, PERCENT)
    next(button for button in page.button if button.label == "Whole image").click().run()
    assert search.parts[-1][0].crop is None
    assert "crop" not in page.query_params
    slider(page, "From left").set_range(25, 75).run()
    slider(page, "From left").set_range(0, 100).run()
    assert search.parts[-1][0].crop is None


@pytest.fixture
def words_home(library: list[str], home: Home) -> Home:
    """A home whose last run was with a model that has a text tower; no run has recorded its weights."""
    model = "openclip:local-dir:/models/tiny"
    choice = ModelChoice(model, None, "scaled", "auto", "")
    preprocessing = Preprocessing((4, 4), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), decoding="scaled")
    write_space(home, choice, [], EmbeddingSpace(model, "0" * 64, preprocessing, 48))
    return home.update(model=model, weights=None, decoding="scaled", pooling="auto", centre="")


@pytest.mark.usefixtures("library")
def test_a_library_without_a_text_tower_has_no_field_for_words(page: AppTest, server: FakeServer) -> None:
    page.run()
    assert "Not searchable by words" in texts(page)
    assert "text" not in [field.key for field in page.text_input]


@pytest.mark.usefixtures("words_home")
def test_words_are_searched_with_alone(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    search.hits = [hit(library[0], 0.25)]
    page.run()
    assert "Not searchable by words" not in texts(page)
    page.text_input(key="text").input("  a red car ").run()
    assert [(part.source, part.less) for part in search.parts[-1]] == [(QueryText("a red car"), False)]
    assert "#1 · **0.250**" in texts(page)
    # Nothing to compare a hit with, and no image to add it to.
    labels = [button.label for button in page.button]
    assert "Similar" in labels
    assert not {"Compare", "More", "Less"} & set(labels)
    next(button for button in page.button if button.label == "Clear").click().run()
    assert "start with one of these" in texts(page)
    assert page.text_input(key="text").value == ""


@pytest.mark.usefixtures("words_home")
def test_an_image_and_words_are_one_query(
    page: AppTest, server: FakeServer, search: FakeSearch, library: list[str]
) -> None:
    for name, value in {"image": library[2], "text": "at night", "less_text": "a drawing"}.items():
        page.query_params[name] = value
    page.run()
    image, *words = search.parts[-1]
    assert image.name == library[2]
    assert [(part.source, part.less) for part in words] == [
        (QueryText("at night"), False),
        (QueryText("a drawing"), True),
    ]
    assert {"at night", "a drawing"} <= {text.value for text in page.text}


@pytest.mark.usefixtures("words_home", "library")
def test_words_alone_that_hits_shall_not_resemble_are_no_query(
    page: AppTest, server: FakeServer, search: FakeSearch
) -> None:
    page.query_params["less_text"] = "a drawing"
    page.run()
    assert "start with one of these" in texts(page)
    assert not search.parts
