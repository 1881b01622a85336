"""The page Compare: two pictures of the library, named in the address.

Belongs here: choosing the two. Not here: showing them (`app.components.comparison`).
"""

import streamlit as st

from imgret_assets.app.components.comparison import show_comparison
from imgret_assets.app.components.library_picker import pickable_paths
from imgret_assets.app.components.query_choice import LIBRARY, Choice, load_choice
from imgret_assets.app.page_frame import Shown, attempt, open_shown


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
    images = attempt(lambda: [load_choice(Choice(LIBRARY, path), shown.home) for path in paths])
    if images is not None and shown.facts is not None:
        show_comparison(shown.home, shown.facts.state.model, *images)


def _pick(shown: Shown, side: str, name: str) -> str | None:
    chosen = st.query_params.get(side)
    paths, _ = pickable_paths(shown.library.paths, f"{name}: part of a path", key=f"part-{side}")
    options = paths if chosen is None or chosen in paths else [chosen, *paths]
    return st.selectbox(
        name, options, index=None, placeholder="choose", key=side, bind="query-params", filter_mode="contains"
    )
