"""The triage: which set is shown, what its keys decide, the counter of the session, images at their own address."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import streamlit as st
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from imgret_assets.app.components import triage
from imgret_assets.app.components.image_route import PREVIEW_PX, ROUTE, answer_preview, preview_address
from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.review.decision_log import read_decisions, read_history, undo
from imgret_assets.domain.review.removals import list_removals
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.fake_search import FakeServer, page_test
from imgret_tests.support.pictures import picture
from imgret_tests.support.scenes import encode, near_duplicates_of, scene
from imgret_tests.support.tree import put


class FakeDialog:
    """Stands for the full screen: keeps what it is to show, and has a button for each key."""

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {}
        self.path: str | None = None
        self.set: str | None = None

    def __call__(self, data: Mapping[str, Any], *, key: str, on_key: Callable[[dict[str, Any]], None]) -> None:
        self.shown = dict(data)
        shown_set = self.set or (self.shown["set"] or {}).get("key")
        for action in ("accept", "all", "only", "skip", "undo", "next", "previous", "close"):
            pressed = {"action": action, "set": shown_set, "path": self.path}
            st.button(action, key=f"{key}-{action}", on_click=on_key, args=(pressed,))

    @property
    def place(self) -> str:
        return self.shown["set"]["place"]

    @property
    def paths(self) -> list[str]:
        return [file["path"] for file in self.shown["set"]["files"]]


@pytest.fixture
def dialog(monkeypatch: pytest.MonkeyPatch) -> FakeDialog:
    fake = FakeDialog()
    monkeypatch.setattr(triage, "triage_dialog", fake)
    return fake


@pytest.fixture
def near_home(home: Home, home_environment: None) -> Home:
    """A home with three sets of near-duplicates."""
    for seed in range(3):
        put(home.images, f"scene{seed}.png", encode(scene(seed)))
        put(home.images, f"copies/{seed}.png", near_duplicates_of(scene(seed))["half.png"])
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    refresh_duplicates(home, FakeEmbedder().space.id)
    refresh_pairs(home, FakeEmbedder().space.id, -0.9)
    return home


@pytest.fixture
def page(near_home: Home, server: FakeServer, dialog: FakeDialog) -> AppTest:
    """The page Duplicates with an open triage."""
    page = page_test("duplicates")
    page.query_params["kind"] = "near"
    page.run()
    return press(page, "triage-open")


def press(page: AppTest, *keys: str) -> AppTest:
    for key in keys:
        page.button(key=key if key.startswith("triage") else f"triage-{key}").click().run()
        assert not page.exception
        assert not page.error
    return page


def test_a_link_opens_the_triage_and_nothing_else_can_be_decided(page: AppTest, dialog: FakeDialog) -> None:
    assert page.query_params["triage"] == "on"
    linked = page_test("duplicates")
    linked.query_params.update({"kind": "near", "triage": "on"})
    linked.run()
    assert dialog.place == "1 of 3"
    assert not any(button.label.startswith(("Accept", "Keep", "Undo")) for button in linked.button)
    press(linked, "close")
    assert "triage" not in linked.query_params
    assert any(button.label.startswith("Accept") for button in linked.button)


def test_keys_go_from_set_to_set_and_stop_at_the_ends(page: AppTest, dialog: FakeDialog) -> None:
    places, first = [], dialog.paths
    for key in ("previous", "next", "next", "next", "previous"):
        press(page, key)
        places.append((dialog.place[0], dialog.shown["set"]["hasPrevious"], dialog.shown["set"]["hasNext"]))
    assert places == [
        ("1", False, True),
        ("2", True, True),
        ("3", True, False),
        ("3", True, False),
        ("2", True, True),
    ]
    assert dialog.paths != first


def test_decisions_count_what_they_free_and_are_undone_one_after_the_other(
    page: AppTest, dialog: FakeDialog, near_home: Home
) -> None:
    assert (dialog.shown["freed"], dialog.shown["decided"]) == ("", "")
    first = dialog.paths
    press(page, "accept")
    assert dialog.place == "1 of 2"
    [removal] = list_removals(near_home).files
    assert removal.path == first[1]
    assert dialog.shown["freed"] == f"1 file not needed, {removal.bytes / 1000:.0f} kB"
    assert dialog.shown["decided"] == f"{first[0]} is kept, 1 not needed"
    press(page, "next")
    second = dialog.paths
    press(page, "all")
    assert dialog.shown["freed"].startswith("1 file")
    assert dialog.place == "1 of 1"
    press(page, "undo")
    assert (dialog.paths, dialog.place) == (second, "2 of 2")
    press(page, "undo")
    assert (dialog.paths, dialog.place) == (first, "1 of 3")
    assert (dialog.shown["freed"], dialog.shown["decided"]) == ("", "")
    assert list(read_decisions(near_home).in_force()) == []


def test_only_the_image_that_is_shown_is_kept(page: AppTest, dialog: FakeDialog, near_home: Home) -> None:
    keep, other = dialog.paths
    # The key is pressed while the second image is shown.
    dialog.path = other
    press(page, "undo", "only")
    assert [removal.path for removal in list_removals(near_home).files] == [keep]


def test_skipped_sets_are_passed_over_until_none_is_left(page: AppTest, dialog: FakeDialog, near_home: Home) -> None:
    press(page, "next")
    skipped = dialog.paths
    press(page, "skip")
    assert dialog.place == "3 of 3"
    press(page, "previous")
    assert dialog.place == "1 of 3"
    assert dialog.paths != skipped
    press(page, "skip", "skip")
    assert (dialog.shown["set"], dialog.shown["skipped"]) == (None, 3)
    assert read_history(near_home) == []


def test_when_all_is_decided_what_else_is_left_is_named(page: AppTest, dialog: FakeDialog) -> None:
    press(page, "accept", "accept", "all")
    assert (dialog.shown["set"], dialog.shown["skipped"]) == (None, 0)
    assert dialog.shown["left"].startswith("Still to decide: similar ")
    press(page, "undo")
    assert dialog.place == "1 of 1"


def test_a_set_that_has_changed_is_not_decided_about(page: AppTest, dialog: FakeDialog, near_home: Home) -> None:
    dialog.set = dialog.shown["set"]["key"]
    press(page, "next")
    assert dialog.place == "2 of 3"
    press(page, "next", "accept")
    assert "look at it again" in dialog.shown["problem"]
    assert read_history(near_home) == []
    dialog.set = None
    press(page, "undo", "accept")
    assert dialog.shown["problem"] is None
    assert len(read_history(near_home)) == 1


def test_what_was_undone_elsewhere_is_not_undone_again(page: AppTest, dialog: FakeDialog, near_home: Home) -> None:
    press(page, "accept", "accept")
    undo(near_home, read_history(near_home)[0].decision.batch)
    press(page, "undo")
    assert dialog.shown["problem"] is None
    assert list(read_decisions(near_home).in_force()) == []


@pytest.fixture
def client(home: Home, home_environment: None) -> TestClient:
    return TestClient(Starlette(routes=[Route(ROUTE, answer_preview)]))


def test_an_image_has_an_address_until_it_changes(home: Home, client: TestClient) -> None:
    put(home.images, "a b/é.png", encode(picture(1).resize((2500, 100))))
    address = preview_address(home, "a b/é.png")
    answer = client.get(address)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert answer.headers["cache-control"].startswith("private")
    assert Image.open(io.BytesIO(answer.content)).width == PREVIEW_PX
    put(home.images, "a b/é.png", encode(picture(2)))
    assert preview_address(home, "a b/é.png") != address


@pytest.mark.parametrize("path", ["gone.png", "../secret.png", ".hidden.png", "notes.txt", "", "a\0b.png"])
def test_no_other_file_has_an_address(home: Home, client: TestClient, path: str) -> None:
    put(home.images, "notes.txt", b"no image")
    put(home.images, ".hidden.png", encode(picture(1)))
    put(home.images.folder.parent, "secret.png", encode(picture(1)))
    assert client.get(preview_address(home, path)).status_code == 404
