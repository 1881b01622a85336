"""The page Compare: two images of the library, named in the address.

Belongs here: choosing the two images. Not here: showing them (`app.components.comparison`).
"""

import streamlit as st

from imgret_assets.app.components.comparison import show_comparison
from imgret_assets.app.components.library_picker import pickable_paths
from imgret_assets.app.components.query_choice import LIBRARY, Choice, load_choice
from imgret_assets.app.page_frame import PageContext, open_context, try_or_show_error


def show_compare() -> None:
    """Draw the page that the address (`a`, `b`) describes."""
    context = open_context()
    if context is None or not context.library.paths:
        return
    paths = []
    for column, side, name in zip(st.columns(2), ("a", "b"), ("Left", "Right"), strict=True):
        with column:
            paths += filter(None, [_pick(context, side, name)])
    if len(paths) < 2:
        st.info("Choose two images, or press Compare below a hit of a search.")
        return
    images = try_or_show_error(lambda: [load_choice(Choice(LIBRARY, path), context.home) for path in paths])
    if images is not None and context.facts is not None:
        show_comparison(context.home, context.facts.state.model, *images)


def _pick(context: PageContext, side: str, name: str) -> str | None:
    linked = st.query_params.get(side)
    paths, _ = pickable_paths(context.library.paths, f"{name}: part of a path", key=f"part-{side}")
    options = paths if linked is None or linked in paths else [linked, *paths]
    return st.selectbox(
        name, options, index=None, placeholder="choose", key=side, bind="query-params", filter_mode="contains"
    )
