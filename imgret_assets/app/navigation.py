"""The pages by name, and links between them.

Belongs here: which pages there are, their names in addresses, going from one to another. Not here: what a page shows
(`app.*_page`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

# Names in addresses; other modules link by them.
SEARCH, DUPLICATES, COMPARE, GROUPS, GRAPH, REVIEW, OVERVIEW = (
    "search",
    "duplicates",
    "compare",
    "groups",
    "graph",
    "review",
    "overview",
)
_PAGES = "pages"


@dataclass(frozen=True)
class PageSpec:
    """A page: its name in the address, its title, a Material icon, and what draws it."""

    name: str
    title: str
    icon: str
    show: Callable[[], None]


def choose_page(specs: list[PageSpec]) -> None:
    """Show the menu, the first page being the start, and draw the page that the address names."""
    pages = {
        spec.name: st.Page(
            spec.show, title=spec.title, icon=f":material/{spec.icon}:", url_path=spec.name, default=number == 0
        )
        for number, spec in enumerate(specs)
    }
    st.session_state[_PAGES] = pages
    st.navigation(list(pages.values()), position="top").run()


def open_page(name: str, **query: str) -> None:
    """Go to a page, with these query parameters; the script ends here. Not for callbacks.

    Nothing where pages are drawn one by one, as in tests.
    """
    pages = st.session_state.get(_PAGES, {})
    if name in pages:
        st.switch_page(pages[name], query_params=query)


def show_link(name: str, label: str, **query: str) -> None:
    """A link to a page with these query parameters; nothing where pages are drawn one by one, as in tests."""
    pages = st.session_state.get(_PAGES, {})
    if name in pages:
        st.page_link(pages[name], label=label, query_params=query)
