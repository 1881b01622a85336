"""The menu and the links between pages."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from imgret_assets.app import navigation
from imgret_assets.app.page_list import PAGES

MAIN = Path(navigation.__file__).with_name("main.py")


@pytest.mark.usefixtures("home_environment", "server")
def test_the_script_starts_at_search() -> None:
    page = AppTest.from_file(str(MAIN), default_timeout=60).run()
    assert not page.exception
    assert "Upload, drop or paste" in [uploader.label for uploader in page.file_uploader]


def test_every_page_has_a_name_of_its_own() -> None:
    assert sorted(page.name for page in PAGES) == sorted(
        ("search", "duplicates", "compare", "groups", "graph", "review", "overview")
    )


def two_pages() -> None:
    # Streamlit runs this function's source as a script of its own: it sees nothing of this module.
    import streamlit as st

    from imgret_assets.app.navigation import PageSpec, open_page, run_page, show_link

    def first() -> None:
        show_link("second", "To the second")
        if st.button("Go"):
            open_page("second", image="a b.png")

    def second() -> None:
        st.text(st.query_params["image"])

    run_page([PageSpec("first", "First", "image", first), PageSpec("second", "Second", "image", second)])


def test_a_button_opens_another_page_with_its_parameters() -> None:
    page = AppTest.from_function(two_pages).run()
    page.button[0].click().run()
    assert not page.exception
    assert page.text[0].value == "a b.png"


def test_a_page_shows_a_link_to_another() -> None:
    page = AppTest.from_function(two_pages).run()
    assert [(link.proto.label, link.proto.page) for link in page.get("page_link")] == [("To the second", "second")]
