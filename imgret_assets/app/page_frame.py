"""The frame of all pages: the opened home, the header line, errors with their remedy.

Belongs here: opening the home, the header, showing errors. Not here: what a page shows (`app.views`), connections and
tables (`app.data_access`), the list of pages (`app.page_list`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import streamlit as st

from imgret_assets.app.data_access import read_facts
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.graph.graph_state import REFRESHING, GraphFacts
from imgret_assets.domain.images.library import Library, cached_library
from imgret_assets.domain.operations.complete_state import describe, served_home
from imgret_assets.domain.operations.store_reading import store_note, watch_store
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ImgretError
from imgret_assets.settings import load_settings
from imgret_assets.wording import counted

Result = TypeVar("Result")


@dataclass(frozen=True)
class PageContext:
    """The data that a page is drawn from; `facts` is None if the graph can't be read."""

    home: Home
    library: Library
    facts: GraphFacts | None


def try_or_show_error(work: Callable[[], Result]) -> Result | None:
    """Return what `work` returns; if it raises an ImgretError, show it with its remedy and return None."""
    try:
        return work()
    except ImgretError as error:
        st.error(markdown_text(str(error)))
        return None


def open_library() -> tuple[Home, Library] | None:
    """Return the home and its library; if they can't be opened, show why and return None."""
    return try_or_show_error(_open)


def _open() -> tuple[Home, Library]:
    settings = load_settings()
    watch_store(settings)
    home = served_home(open_home(settings))
    return home, cached_library(home)


def open_context() -> PageContext | None:
    """Open the home and show the header; return None if the home can't be opened."""
    opened = open_library()
    return None if opened is None else PageContext(*opened, show_header(*opened))


def show_header(home: Home, library: Library) -> GraphFacts | None:
    """Show the size and the state of the graph and return them; if there is none, show why and return None."""
    if not library.paths:
        st.info(
            "The library is empty: no image has been indexed yet. What to do: run `imgret run --images FOLDER` "
            "(or `imgret demo` for sample images), then reload this page."
        )
        return None
    with st.spinner("Opening the graph …", show_time=True):
        facts = try_or_show_error(lambda: read_facts(home))
    if facts is None:
        st.button("Try again")
        return None
    if facts.state.state == REFRESHING:
        state = ":orange-badge[refreshing]"
    else:
        state = ":orange-badge[last complete state]" if home.complete_state else ":green-badge[ready]"
    model = markdown_text(facts.state.model)
    counts = f"**{counted(facts.images, 'image')}** · **{counted(facts.relations, 'relationship')}**"
    st.markdown(f"{counts} · model **{model}** · {state}")
    if facts.state.state == REFRESHING:
        st.warning("A run is writing to the graph: hits and relationships may be incomplete. Reload after the run.")
    if note := describe(home):
        st.info(note[0].upper() + note[1:] + ".")
    if note := store_note(home.settings):
        st.info(markdown_text(note[0].upper() + note[1:] + "."))
    return facts
