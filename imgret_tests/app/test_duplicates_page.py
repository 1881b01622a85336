"""The pages Duplicates and Review: decisions, undo, accepting all proposals, and the files not needed."""

from dataclasses import replace

import pytest
from PIL import ImageOps
from streamlit.testing.v1 import AppTest

from imgret_assets.app.components.decision_buttons import act_if_active, activate_set
from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.review.decision_log import read_decisions, read_history
from imgret_assets.domain.review.decisions import DUPLICATE, NOT_DUPLICATES
from imgret_assets.domain.review.removals import list_removals
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.fake_search import FakeServer, page_test
from imgret_tests.support.scenes import encode, near_duplicates_of, scene
from imgret_tests.support.tree import put

MARKUP = "<b>x<b> **y**.png"


def refresh(home: Home) -> None:
    space = FakeEmbedder().space.id
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    refresh_duplicates(home, space)
    refresh_pairs(home, space, -0.9)


@pytest.fixture
def duplicates_home(home: Home, home_environment: None) -> Home:
    """A home with one near-duplicate, one exact duplicate, and an image without duplicates."""
    for seed in range(3):
        put(home.images, f"scene{seed}.png", encode(scene(seed)))
    put(home.images, "copies/half.png", near_duplicates_of(scene(0))["half.png"])
    put(home.images, f"again/{MARKUP}", encode(scene(1)))
    refresh(home)
    return home


@pytest.fixture
def page(duplicates_home: Home, server: FakeServer) -> AppTest:
    return page_test("duplicates")


@pytest.fixture
def review(duplicates_home: Home, server: FakeServer) -> AppTest:
    return page_test("review")


def press(page: AppTest, label: str) -> None:
    next(button for button in page.button if button.label.startswith(label)).click().run()
    assert not page.exception
    assert not page.error


def captions(page: AppTest) -> str:
    return "\n".join(caption.value for caption in page.caption)


def test_the_sets_of_each_kind_are_counted(page: AppTest) -> None:
    page.run()
    assert not page.exception
    assert "exact 1 · near 1 · look first 0 · similar 3" in captions(page)
    assert page.text[0].value in (f"again/{MARKUP}", "scene1.png")
    assert any("not needed" in element.value for element in page.markdown)


def test_a_name_like_markup_shows_as_it_is(page: AppTest) -> None:
    page.run()
    assert f"again/{MARKUP}" in [text.value for text in page.text]
    assert not any(MARKUP in element.value for element in [*page.markdown, *page.caption])


def test_a_link_restores_the_kind(page: AppTest) -> None:
    page.query_params["kind"] = "near"
    page.run()
    assert {"scene0.png", "copies/half.png"} <= {text.value for text in page.text}
    assert "score" in captions(page)


def test_only_the_active_set_acts_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlit.session_state", {})
    acted: list[str] = []
    act_if_active("first", lambda: acted.append("before anything is drawn"))
    activate_set("first")
    act_if_active("second", lambda: acted.append("second"))
    act_if_active("first", lambda: acted.append("first"))
    act_if_active("first", lambda: acted.append("again"))
    act_if_active(None, lambda: acted.append("a button without a key"))
    activate_set("second")
    act_if_active("second", lambda: acted.append("second, drawn first"))
    assert acted == ["first", "a button without a key", "second, drawn first"]


def test_an_accepted_proposal_is_recorded_with_who_and_why(page: AppTest, duplicates_home: Home) -> None:
    page.query_params["kind"] = "near"
    page.run()
    page.text_input(key="decided-by").set_value("Ada")
    page.text_input(key="decided-reason").set_value("sorting").run()
    press(page, "Accept proposal")
    [entry] = read_history(duplicates_home)
    decided = entry.decision
    assert (decided.verdict, decided.by, decided.reason, decided.keep_path) == (
        DUPLICATE,
        "Ada",
        "sorting",
        "scene0.png",
    )
    assert [removal.path for removal in list_removals(duplicates_home).files] == ["copies/half.png"]
    assert duplicates_home.images.local("copies/half.png").is_file()
    assert "Nothing is left to decide here" in page.info[0].value
    press(page, "Undo")
    assert list_removals(duplicates_home).files == []
    assert {"scene0.png", "copies/half.png"} <= {text.value for text in page.text}


def test_no_duplicates_holds_after_a_refresh_until_another_image_joins(page: AppTest, duplicates_home: Home) -> None:
    page.query_params["kind"] = "near"
    page.run()
    press(page, "Keep all")
    assert [entry.decision.verdict for entry in read_history(duplicates_home)] == [NOT_DUPLICATES]
    refresh(duplicates_home)
    page.run()
    assert "near 0" in captions(page)
    put(duplicates_home.images, "copies/recompressed.jpg", near_duplicates_of(scene(0))["recompressed.jpg"])
    refresh(duplicates_home)
    page.run()
    assert "near 1" in captions(page)


def test_selected_files_are_kept(page: AppTest, duplicates_home: Home) -> None:
    page.query_params["kind"] = "near"
    page.run()
    boxes = {box.key.rsplit("-", 1)[-1]: box for box in page.checkbox if box.key}
    boxes["scene0.png"].uncheck()
    boxes["copies/half.png"].check().run()
    press(page, "Keep selected")
    assert [removal.path for removal in list_removals(duplicates_home).files] == ["scene0.png"]


def test_a_skipped_set_can_be_shown_again(page: AppTest, duplicates_home: Home) -> None:
    page.query_params["kind"] = "near"
    page.run()
    press(page, "Skip")
    assert "scene0.png" not in [text.value for text in page.text]
    assert read_history(duplicates_home) == []
    press(page, "Show 1 skipped")
    assert "scene0.png" in [text.value for text in page.text]


def test_all_proposals_are_accepted_at_once(page: AppTest, duplicates_home: Home) -> None:
    page.query_params["kind"] = "exact"
    page.run()
    page.toggle(key="overview-exact").set_value(True).run()
    assert len(page.dataframe[0].value) == 1
    press(page, "Accept 1 proposal")
    assert len(list(read_decisions(duplicates_home).in_force())) == 1
    assert len(list_removals(duplicates_home).files) == 1


def test_protected_folders_are_never_proposed(
    page: AppTest, duplicates_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGRET_PROTECTED", "copies")
    page.query_params["kind"] = "near"
    page.run()
    assert not page.exception
    assert page.text[0].value == "copies/half.png"
    assert any("protected" in element.value for element in page.markdown)
    press(page, "Accept proposal")
    guarded = replace(duplicates_home, settings=replace(duplicates_home.settings, protected=("copies",)))
    assert [removal.path for removal in list_removals(guarded).files] == ["scene0.png"]


@pytest.fixture
def look_first_home(duplicates_home: Home) -> Home:
    """The same home with a retouched version and a grey version of the image without duplicates."""
    retouched = scene(2)
    retouched.paste((255, 255, 0), (150, 100, 160, 110))
    put(duplicates_home.images, "retouched.jpg", encode(retouched, "JPEG", quality=90))
    put(duplicates_home.images, "grey.png", encode(scene(2).resize((120, 90)).convert("L")))
    refresh(duplicates_home)
    return duplicates_home


def look_first_differences(page: AppTest) -> list[str]:
    """Open the kind; return the differences in the order of the page."""
    page.query_params["kind"] = "look first"
    page.run()
    assert not page.exception
    marker = ":orange-badge[look first] "
    return [element.value.split(marker)[1] for element in page.markdown if marker in element.value]


def test_images_to_look_at_first_are_shown_with_their_difference_and_nothing_is_chosen(
    look_first_home: Home, page: AppTest
) -> None:
    differences = look_first_differences(page)
    assert "look first 2" in captions(page)
    assert "a grey version of the other" in differences
    assert any(difference.endswith("of the area differs") for difference in differences)
    assert {"scene2.png", "retouched.jpg", "grey.png"} == {text.value for text in page.text}
    assert len(page.text) == 4
    assert not any(box.value for box in page.checkbox)
    buttons = [button.label for button in page.button]
    assert buttons.count("Compare") == 2
    assert not any(label.startswith("Accept") for label in buttons)
    assert all(button.disabled for button in page.button if button.label == "Keep selected")
    assert not page.toggle
    assert not any("badge[keep]" in element.value or "not needed" in element.value for element in page.markdown)


def test_mirrored_copies_are_a_kind_where_there_are_some(duplicates_home: Home, page: AppTest) -> None:
    page.run()
    assert "mirrored" not in captions(page)
    put(duplicates_home.images, "mirrored.png", encode(ImageOps.mirror(scene(2))))
    refresh(replace(duplicates_home, settings=replace(duplicates_home.settings, orientations=True)))
    page = page_test("duplicates")
    page.query_params["kind"] = "mirrored"
    page.run()
    assert not page.exception
    assert "look first 0 · mirrored 1 · similar" in captions(page)
    headlines = [item.value.replace("\\", "") for item in page.markdown]
    assert any("badge[mirrored] the other image, mirrored left to right" in headline for headline in headlines)
    assert {text.value for text in page.text} == {"scene2.png", "mirrored.png"}
    assert not any(box.value for box in page.checkbox)
    assert not any(button.label.startswith("Accept") for button in page.button)


def test_a_pair_to_look_at_first_is_decided_by_people_alone(look_first_home: Home, page: AppTest) -> None:
    look_first_differences(page)
    press(page, "Keep all")
    assert [entry.decision.verdict for entry in read_history(look_first_home)] == [NOT_DUPLICATES]
    assert list_removals(look_first_home).files == []
    assert "look first 1" in captions(page)
    [other] = {text.value for text in page.text} - {"scene2.png"}
    next(box for box in page.checkbox if box.key and box.key.endswith("scene2.png")).check().run()
    press(page, "Keep selected")
    assert [removal.path for removal in list_removals(look_first_home).files] == [other]
    assert "look first 0" in captions(page)
    press(page, "Undo")
    assert list_removals(look_first_home).files == []
    assert "look first 1" in captions(page)


@pytest.mark.usefixtures("server")
def test_accepting_all_proposals_leaves_images_to_look_at_first_alone(look_first_home: Home) -> None:
    for kind in ("exact", "near"):
        page = page_test("duplicates")
        page.query_params["kind"] = kind
        page.run()
        page.toggle(key=f"overview-{kind}").set_value(True).run()
        assert not {"retouched.jpg", "grey.png"} & set(page.dataframe[0].value["not needed"])
        press(page, "Accept 1 proposal")
    assert {removal.path for removal in list_removals(look_first_home).files}.isdisjoint({"retouched.jpg", "grey.png"})
    assert len(look_first_differences(page_test("duplicates"))) == 2


def test_without_the_duplicates_table_the_next_step_is_shown(
    home: Home, server: FakeServer, library: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGRET_IMAGES", str(home.images))
    page = page_test("duplicates").run()
    assert not page.exception
    assert "duplicates" in page.error[0].value
    assert "imgret run" in page.error[0].value


def test_review_shows_decisions_and_files_not_needed(review: AppTest, page: AppTest, duplicates_home: Home) -> None:
    review.run()
    assert "Nothing has been decided yet" in review.info[0].value
    page.query_params["kind"] = "near"
    page.run()
    press(page, "Accept proposal")
    review.run()
    assert not review.exception
    rows = review.dataframe[0].value
    assert (rows["verdict"].tolist(), rows["state"].tolist()) == (["duplicate"], ["in force"])
    assert rows[f"image {rows['kept'][0]}"].tolist() == ["scene0.png"]
    # Columns that no decision fills are left out.
    assert not {"name", "reason"} & set(rows.columns)
    assert review.dataframe[1].value["not needed"].tolist() == ["copies/half.png"]
    assert "imgret review --apply --home" in review.code[0].value
    press(page, "Undo")
    review.pills(key="review-states").set_value([]).run()
    rows = review.dataframe[0].value
    assert rows["verdict"].tolist() == ["undo", "duplicate"]
    # An undo is about no images: nothing, rather than None, is in their cells.
    assert rows.loc[0, ["kept", "image A", "image B"]].tolist() == ["", "", ""]
    review.pills(key="review-states").set_value(["undone"]).run()
    assert review.dataframe[0].value["verdict"].tolist() == ["duplicate"]
    assert any("no decision makes a file removable" in caption.value for caption in review.caption)
