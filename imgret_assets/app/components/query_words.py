"""The words of a query on the page Search: fields where the model has a text tower, else an explanation.

Belongs here: the fields, showing the words beside the images of the query. Not here: the images
(`app.components.query_row`), the vector of a text (`domain.search.query_embedding`).
"""

from dataclasses import dataclass

import streamlit as st

from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.models.registry import text_tower_patterns
from imgret_assets.domain.models.resolution import has_text_tower, space_of_last_run
from imgret_assets.domain.search.query_parts import MAX_TEXT_CHARACTERS, QueryPart, QueryText
from imgret_assets.domain.storage.home import Home

# Keys of the fields and names of the address's parameters.
_TEXT, _LESS = "text", "less_text"


@dataclass(frozen=True)
class Words:
    """Words that describe the hits, and words that the hits shall not resemble; empty for none."""

    text: str = ""
    less: str = ""

    def parts(self) -> list[QueryPart]:
        """Return the parts of a query that they are."""
        sides = ((self.text, False), (self.less, True))
        return [QueryPart(QueryText(text), less=less) for text, less in sides if text]


def show_words(home: Home) -> Words:
    """Show the fields for words, or why there are none, and return what is in them."""
    space = space_of_last_run(home)
    if space is None or not has_text_tower(space):
        reason = "a mean is subtracted from its vectors" if space and space.centre else "its model has no text tower"
        st.caption(
            "Not searchable by words",
            help=f"The library can't be searched by words: {reason}. "
            f"A model with one: {markdown_text(text_tower_patterns())}.",
        )
        return Words()
    text = st.text_input(
        "Or words",
        key=_TEXT,
        bind="query-params",
        placeholder="a red car in a forest",
        max_chars=MAX_TEXT_CHARACTERS,
        help="Words that describe the hits, alone or besides images. Most models know English best.",
    )
    less = st.text_input(
        "Less like the words",
        key=_LESS,
        bind="query-params",
        placeholder="a drawing",
        max_chars=MAX_TEXT_CHARACTERS,
        help="Words that the hits shall not resemble; they need an image or words to search with.",
    )
    return Words((text or "").strip(), (less or "").strip())


def clear_words() -> None:
    """Empty the fields; for a widget's callback."""
    for key in (_TEXT, _LESS):
        if key in st.session_state:
            st.session_state[key] = ""


def show_query_words(words: Words) -> None:
    """Show the words that are searched with."""
    if not words.parts():
        return
    with st.container(width="content"):
        for part in words.parts():
            st.caption(f"**{'Less like the words' if part.less else 'Words'}**")
            st.text(part.name)
