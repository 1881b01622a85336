"""Pictures with their facts: the query, the hits, pictures to begin with.

Belongs here: tiles and their buttons. Not here: which pictures are shown (`app.views.search_page`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from imgret_assets.app.components.query_choice import LIBRARY, Choice, choose, samples_folder
from imgret_assets.app.components.thumbnails import (
    TILE_PX,
    data_thumbnail,
    home_tiles,
    picture_facts,
    picture_file,
    readable_bytes,
)
from imgret_assets.app.navigation import GRAPH, open_page
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.search.query import QueryImage
from imgret_assets.domain.storage.home import Home

# A tile's frame and padding are drawn round the picture.
_CARD_PX = TILE_PX + 34
_QUERY_PX = 300


@dataclass(frozen=True)
class Tile:
    """A picture that can be asked with, and what is said about it.

    Attributes:
        choice: the picture.
        headline: Markdown above its path.
        label: its folder, where that is worth a line of its own.
        compare: shows it beside another picture; None where there is none.
    """

    choice: Choice
    headline: str = ""
    label: str | None = None
    compare: Callable[[str], None] | None = None


def show_query(image: QueryImage, *, kind_text: str, max_pixels: int) -> None:
    """The picture asked with, with its name and size."""
    preview = data_thumbnail(image.data, _QUERY_PX, max_pixels=max_pixels)
    if preview is not None:
        st.image(preview)
    with st.container(width="content"):
        st.text(image.name)
        st.caption(f"{kind_text} · {readable_bytes(len(image.data))}")


def show_tiles(home: Home, tiles: Sequence[Tile], *, key: str) -> None:
    """Pictures side by side, each with its full path, its size, and a button to ask with it."""
    max_pixels = home.settings.max_pixels
    files = [
        picture_file(home.images if tile.choice.kind == LIBRARY else samples_folder(home), tile.choice.name)
        for tile in tiles
    ]
    pictures = home_tiles(home, files)
    with st.container(horizontal=True, gap="small"):
        for number, (tile, file, picture) in enumerate(zip(tiles, files, pictures, strict=True)):
            with st.container(border=True, width=_CARD_PX, gap="xsmall"):
                st.image(picture, width=TILE_PX)
                if tile.headline:
                    st.markdown(tile.headline)
                st.text(tile.choice.name)
                about = picture_facts(file, max_pixels=max_pixels).text
                st.caption(about if tile.label is None else f"{about} · {markdown_text(tile.label)}")
                _show_actions(tile, key=f"{key}-{number}-{tile.choice.name}", readable=file is not None)


def _show_actions(tile: Tile, *, key: str, readable: bool) -> None:
    with st.container(horizontal=True, gap="xsmall"):
        st.button(
            "Similar",
            key=key,
            help="Ask with this picture",
            on_click=choose,
            args=(tile.choice,),
            disabled=not readable,
        )
        if tile.choice.kind != LIBRARY:
            return
        if tile.compare is not None and st.button(
            "Compare", key=f"compare-{key}", help="See it beside the query", disabled=not readable
        ):
            tile.compare(tile.choice.name)
        if st.button("Graph", key=f"graph-{key}", help="See what it is related to"):
            open_page(GRAPH, image=tile.choice.name)
