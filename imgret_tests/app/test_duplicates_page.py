"""The pages Duplicates and Review: deciding, taking back, accepting all, and what would be removed."""

from dataclasses import replace

import pytest
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
def copied(home: Home, home_environment: None) -> Home:
    """A scene with a near copy, another one under two names, one that is alone."""
    for seed in range(3):
        put(home.images, f"scene{seed}.png", encode(scene(seed)))
    put(home.images, "copies/half.png", near_duplicates_of(scene(0))["half.png"])
    put(home.images, f"again/{MARKUP}", encode(scene(1)))
    refresh(home)
    return home


@pytest.fixture
def page(copied: Home, server: FakeServer) -> AppTest:
    return page_test("duplicates")


@pytest.fixture
def review(copied: Home, server: FakeServer) -> AppTest:
    return page_test("review")


def press(page: AppTest, label: str) -> None:
    next(button for button in page.button if button.label.startswith(label)).click().run()
    assert not page.exception
    assert not page.error


def captions(page: AppTest) -> str:
    return "\n".join(caption.value for caption in page.caption)


def test_kinds_are_told_apart(page: AppTest) -> None:
    page.run()
    assert not page.exception
    assert "exact 1 · near 1 · similar 3" in captions(page)
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


def test_only_the_set_that_has_the_turn_acts_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlit.session_state", {})
    done: list[str] = []
    act_if_active("first", lambda: done.append("before anything is drawn"))
    activate_set("first")
    act_if_active("second", lambda: done.append("second"))
    act_if_active("first", lambda: done.append("first"))
    act_if_active("first", lambda: done.append("again"))
    act_if_active(None, lambda: done.append("a button without a key"))
    activate_set("second")
    act_if_active("second", lambda: done.append("second, drawn first"))
    assert done == ["first", "a button without a key", "second, drawn first"]


def test_keeping_the_suggested_is_written_down_with_who_and_why(page: AppTest, copied: Home) -> None:
    page.query_params["kind"] = "near"
    page.run()
    page.text_input(key="decided-by").set_value("Ada")
    page.text_input(key="decided-reason").set_value("sorting").run()
    press(page, "Accept proposal")
    [entry] = read_history(copied)
    decided = entry.decision
    assert (decided.verdict, decided.by, decided.reason, decided.keep_path) == (
        DUPLICATE,
        "Ada",
        "sorting",
        "scene0.png",
    )
    assert [one.path for one in list_removals(copied).files] == ["copies/half.png"]
    assert (copied.images / "copies/half.png").is_file()
    assert "Nothing is left to decide here" in page.info[0].value
    press(page, "Undo")
    assert list_removals(copied).files == []
    assert {"scene0.png", "copies/half.png"} <= {text.value for text in page.text}


def test_no_duplicates_survives_a_new_look_at_everything_until_another_joins(page: AppTest, copied: Home) -> None:
    page.query_params["kind"] = "near"
    page.run()
    press(page, "Keep all")
    assert [entry.decision.verdict for entry in read_history(copied)] == [NOT_DUPLICATES]
    refresh(copied)
    page.run()
    assert "near 0" in captions(page)
    put(copied.images, "copies/recompressed.jpg", near_duplicates_of(scene(0))["recompressed.jpg"])
    refresh(copied)
    page.run()
    assert "near 1" in captions(page)


def test_the_ticked_are_kept(page: AppTest, copied: Home) -> None:
    page.query_params["kind"] = "near"
    page.run()
    boxes = {box.key.rsplit("-", 1)[-1]: box for box in page.checkbox if box.key}
    boxes["scene0.png"].uncheck()
    boxes["copies/half.png"].check().run()
    press(page, "Keep selected")
    assert [one.path for one in list_removals(copied).files] == ["scene0.png"]


def test_what_is_skipped_comes_back_when_asked(page: AppTest, copied: Home) -> None:
    page.query_params["kind"] = "near"
    page.run()
    press(page, "Skip")
    assert "scene0.png" not in [text.value for text in page.text]
    assert read_history(copied) == []
    press(page, "Show 1 skipped")
    assert "scene0.png" in [text.value for text in page.text]


def test_all_suggestions_are_accepted_after_an_overview(page: AppTest, copied: Home) -> None:
    page.query_params["kind"] = "exact"
    page.run()
    page.toggle(key="overview-exact").set_value(True).run()
    assert len(page.dataframe[0].value) == 1
    press(page, "Accept 1 proposal")
    assert len(list(read_decisions(copied).in_force())) == 1
    assert len(list_removals(copied).files) == 1


def test_protected_folders_are_never_proposed(page: AppTest, copied: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGRET_PROTECTED", "copies")
    page.query_params["kind"] = "near"
    page.run()
    assert not page.exception
    assert page.text[0].value == "copies/half.png"
    assert any("protected" in element.value for element in page.markdown)
    press(page, "Accept proposal")
    guarded = replace(copied, settings=replace(copied.settings, protected=("copies",)))
    assert [one.path for one in list_removals(guarded).files] == ["scene0.png"]


def test_without_a_table_of_duplicates_the_next_step_is_said(
    home: Home, server: FakeServer, library: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGRET_IMAGES", str(home.images))
    page = page_test("duplicates").run()
    assert not page.exception
    assert "duplicates" in page.error[0].value
    assert "imgret run" in page.error[0].value


def test_review_shows_undoes_and_lists_what_would_go(review: AppTest, page: AppTest, copied: Home) -> None:
    review.run()
    assert "Nothing has been decided yet" in review.info[0].value
    page.query_params["kind"] = "near"
    page.run()
    press(page, "Accept proposal")
    review.run()
    assert not review.exception
    rows = review.dataframe[0].value
    assert (rows["verdict"].tolist(), rows["kept"].tolist(), rows["state"].tolist()) == (
        ["duplicate"],
        ["scene0.png"],
        ["in force"],
    )
    assert review.dataframe[1].value["not needed"].tolist() == ["copies/half.png"]
    assert "imgret review --dry-run" in review.code[0].value
    press(page, "Undo")
    review.pills(key="review-states").set_value(["undone"]).run()
    assert review.dataframe[0].value["verdict"].tolist() == ["duplicate"]
    assert any("no decision makes a file removable" in caption.value for caption in review.caption)
