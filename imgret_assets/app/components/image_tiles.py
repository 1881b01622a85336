"""Images as tiles with their facts and buttons: hits, examples.

Belongs here: tiles and their buttons. Not here: which images are shown (`app.views.search_page`), the query
(`app.components.query_row`), thumbnails (`app.components.thumbnails`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from imgret_assets.app.components.page_keys import GRID_KEY
from imgret_assets.app.components.query_choice import LIBRARY, Choice, choose, mark, samples_folder
from imgret_assets.app.components.thumbnails import (
    TILE_PX,
    home_tiles,
    image_facts,
)
from imgret_assets.app.navigation import GRAPH, open_page
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.images.files import image_file
from imgret_assets.domain.storage.home import Home

# A tile's border and padding are drawn around the image.
CARD_PX = TILE_PX + 34


@dataclass(frozen=True)
class Tile:
    """An image that can be searched with, and the texts beside it.

    Attributes:
        choice: the image.
        headline: Markdown above its path.
        label: its folder, if that is worth a line of its own.
        compare: shows the image of a path beside the query image; None if there is no query image.
        can_mark: the image can be added to either side of the query.
    """

    choice: Choice
    headline: str = ""
    label: str | None = None
    compare: Callable[[str], None] | None = None
    can_mark: bool = False


def tile_grid(key: str) -> DeltaGenerator:
    """Return a container whose containers are tiles side by side, as many as fit.

    Args:
        key: tells the grids of a page apart.
    """
    return st.container(key=f"{GRID_KEY}{key}", horizontal=True, gap="small")


def show_tiles(home: Home, tiles: Sequence[Tile], *, key: str) -> None:
    """Show images side by side, each with its path, its size and its buttons."""
    max_pixels = home.settings.max_pixels
    files = [
        image_file(home.images if tile.choice.kind == LIBRARY else samples_folder(home), tile.choice.name)
        for tile in tiles
    ]
    thumbnails = home_tiles(home, files)
    with tile_grid(key):
        for number, (tile, file, thumbnail) in enumerate(zip(tiles, files, thumbnails, strict=True)):
            with st.container(border=True, gap="xsmall"):
                st.image(thumbnail, width=TILE_PX, alt=tile.choice.name)
                if tile.headline:
                    st.markdown(tile.headline)
                st.text(tile.choice.name)
                facts = image_facts(file, max_pixels=max_pixels, max_bytes=home.settings.max_bytes).text
                st.caption(facts if tile.label is None else f"{facts} · {markdown_text(tile.label)}")
                _show_buttons(tile, key=f"{key}-{number}-{tile.choice.name}", readable=file is not None)


def _show_buttons(tile: Tile, *, key: str, readable: bool) -> None:
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Similar",
            key=key,
            help="Search with this image",
            on_click=choose,
            args=(tile.choice,),
            disabled=not readable,
            type="tertiary",
        )
        if tile.choice.kind != LIBRARY:
            return
        if tile.compare is not None and st.button(
            "Compare",
            key=f"compare-{key}",
            help="Show it beside the query image",
            disabled=not readable,
            type="tertiary",
        ):
            tile.compare(tile.choice.name)
        if st.button("Graph", key=f"graph-{key}", help="Show the images it is related to", type="tertiary"):
            open_page(GRAPH, image=tile.choice.name)
    if tile.can_mark:
        _show_marks(tile, key)


def _show_marks(tile: Tile, key: str) -> None:
    """Show the buttons that add the image to either side of the query."""
    marks = (
        ("More", "thumb_up", "Search for more like this, too"),
        ("Less", "thumb_down", "Search for less like this"),
    )
    with st.container(horizontal=True, gap="small"):
        for label, icon, text in marks:
            st.button(
                label,
                key=f"{label.lower()}-{key}",
                icon=f":material/{icon}:",
                help=text,
                on_click=mark,
                args=(tile.choice,),
                kwargs={"less": label == "Less"},
                type="tertiary",
            )
