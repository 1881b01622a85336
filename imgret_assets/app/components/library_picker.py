"""The choice of an image from a large library.

Belongs here: the field for a part of the path. Not here: the lists themselves, which differ from page to page.
"""

from collections.abc import Sequence

import streamlit as st

# A longer list is narrowed by a part of the path first.
MAX_OPTIONS = 1000


def pickable_paths(paths: Sequence[str], label: str, *, key: str | None = None) -> tuple[list[str], int]:
    """Return the paths for a list, and how many more match; a large library is narrowed by a part of the path.

    Args:
        paths: of the library.
        label: of the text field.
        key: of the text field, if a page has several.
    """
    matching = list(paths)
    if len(matching) > MAX_OPTIONS:
        part = st.text_input(label, key=key, placeholder="part of a path").casefold()
        matching = [path for path in matching if part in path.casefold()]
    return matching[:MAX_OPTIONS], max(0, len(matching) - MAX_OPTIONS)
