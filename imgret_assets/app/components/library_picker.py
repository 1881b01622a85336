"""Narrowing a large library down to what a list can hold.

Belongs here: the field for a part of the path. Not here: the lists themselves, which differ from page to page.
"""

from collections.abc import Sequence

import streamlit as st

# A longer list is found by typing a part of the path first.
PICKABLE = 1000


def pickable_paths(paths: Sequence[str], label: str, *, key: str | None = None) -> tuple[list[str], int]:
    """The paths to choose from, and how many more there are; a large library is asked for a part of the path.

    Args:
        paths: of the library.
        label: of the field.
        key: of the field, where a page has several.
    """
    found = list(paths)
    if len(found) > PICKABLE:
        part = st.text_input(label, key=key, placeholder="part of a path").casefold()
        found = [path for path in found if part in path.casefold()]
    return found[:PICKABLE], max(0, len(found) - PICKABLE)
