"""The page Compare: two pictures of the library, named in the address.

Belongs here: choosing the two. Not here: showing them (`app.comparison`).
"""

import streamlit as st

from imgret_assets.app.comparison import show_comparison
from imgret_assets.app.picture_files import picture_file
from imgret_assets.app.shell import Shown, attempt, open_shown
from imgret_assets.domain.search import QueryImage, read_query
from imgret_assets.errors import ImageError

# A longer list is found by typing a part of the path first.
_PICKABLE = 1000


def show_compare() -> None:
    """Draw the page as the address (`a`, `b`) says."""
    shown = open_shown()
    if shown is None or not shown.library.paths:
        return
    paths = []
    for column, side, name in zip(st.columns(2), ("a", "b"), ("Left", "Right"), strict=True):
        with column:
            paths += filter(None, [_pick(shown, side, name)])
    if len(paths) < 2:
        st.info("Choose two pictures, or press Compare under a hit of a search.")
        return
    images = attempt(lambda: [_read(shown, path) for path in paths])
    if images is not None and shown.facts is not None:
        show_comparison(shown.home, shown.facts.state.model, *images)


def _pick(shown: Shown, side: str, name: str) -> str | None:
    chosen = st.query_params.get(side)
    paths = list(shown.library.paths)
    if len(paths) > _PICKABLE:
        part = st.text_input(f"{name}: part of a path", key=f"part-{side}", placeholder="part of a path")
        paths = [path for path in paths if part.casefold() in path.casefold()][:_PICKABLE]
    options = paths if chosen is None or chosen in paths else [chosen, *paths]
    return st.selectbox(
        name, options, index=None, placeholder="choose", key=side, bind="query-params", filter_mode="contains"
    )


def _read(shown: Shown, path: str) -> QueryImage:
    file = picture_file(shown.home.images, path)
    if file is None:
        raise ImageError(
            f"There is no picture {path} in {shown.home.images}",
            remedy="choose another one; if the file was removed, `imgret run` takes it out of the library, too",
        )
    return QueryImage(path, read_query(file).data, path)
