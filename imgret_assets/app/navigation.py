"""The pages by name, and links between them.

Belongs here: the names of pages in addresses, the menu, going from one page to another. Not here: which functions draw
the pages (`app.page_list`), what a page shows (`app.views`).
"""

from collections.abc import Callable, Sequence
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
# Session state: Streamlit's pages by name, which links need.
_PAGES = "pages"


@dataclass(frozen=True)
class PageSpec:
    """A page: its name in the address, its title, a Material icon, and the function that draws it."""

    name: str
    title: str
    icon: str
    show: Callable[[], None]


def run_page(specs: Sequence[PageSpec]) -> None:
    """Show the menu and draw the page that the address names; the first page is the default."""
    pages = {
        spec.name: st.Page(
            spec.show, title=spec.title, icon=f":material/{spec.icon}:", url_path=spec.name, default=number == 0
        )
        for number, spec in enumerate(specs)
    }
    st.session_state[_PAGES] = pages
    st.navigation(list(pages.values()), position="top").run()


def open_page(name: str, **query: str) -> None:
    """Go to a page with these query parameters; the script ends here. Not for callbacks."""
    st.switch_page(st.session_state[_PAGES][name], query_params=query)


def show_link(name: str, label: str, **query: str) -> None:
    """Show a link to a page with these query parameters."""
    st.page_link(st.session_state[_PAGES][name], label=label, query_params=query)
