"""What all pages share: the opened home, the header strip, errors by name.

Belongs here: opening, the header, the list of pages. Not here: what a page shows (`app.*_page`), connections and
tables (`app.data_access`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import streamlit as st

from imgret_assets.app.data_access import read_facts, read_library
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.graph.graph_state import REFRESHING, GraphFacts
from imgret_assets.domain.images.library import Library
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ImgretError
from imgret_assets.settings import load_settings

Result = TypeVar("Result")


@dataclass(frozen=True)
class Shown:
    """What a page is drawn from; `facts` is None where the graph can't be asked."""

    home: Home
    library: Library
    facts: GraphFacts | None


def attempt(work: Callable[[], Result]) -> Result | None:
    """What `work` gives; where it fails by name, None, and the failure with its remedy is on the page."""
    try:
        return work()
    except ImgretError as error:
        st.error(markdown_text(str(error)))
        return None


def open_library() -> tuple[Home, Library] | None:
    """The home and its library; None, and why on the page, where it can't be opened."""
    return attempt(_open)


def _open() -> tuple[Home, Library]:
    home = open_home(load_settings())
    return home, read_library(home)


def open_shown() -> Shown | None:
    """The home, its library and its graph's facts, with the header drawn."""
    opened = open_library()
    return None if opened is None else Shown(*opened, show_header(*opened))


def show_header(home: Home, library: Library) -> GraphFacts | None:
    """A line on what there is to ask, or why there is nothing."""
    if not library.paths:
        st.info(
            "The library is empty: no picture has been indexed here yet. What to do: run `imgret run --images FOLDER` "
            "(or `make demo` for sample pictures), then reload this page."
        )
        return None
    with st.spinner("Opening the graph …", show_time=True):
        facts = attempt(lambda: read_facts(home))
    if facts is None:
        st.button("Try again")
        return None
    state = ":orange-badge[refreshing]" if facts.state.state == REFRESHING else ":green-badge[ready]"
    model = markdown_text(facts.state.model)
    st.markdown(f"**{facts.images:,}** images · **{facts.relations:,}** relations · model **{model}** · {state}")
    if facts.state.state == REFRESHING:
        st.warning("A run is writing to the graph: hits and relations may be incomplete. Reload when it is done.")
    return facts
