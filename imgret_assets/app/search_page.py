"""The page: a picture in, similar pictures and their relations out.

Belongs here: the order of things on the page, its controls and its states. Not here: finding (`domain.search`),
the connection (`app.graph_access`), the chart (`app.relation_view`).
"""

from collections.abc import Callable

import streamlit as st

from imgret_assets.app.graph_access import Library, ask
from imgret_assets.app.graph_payload import QUERY, GraphNode
from imgret_assets.app.hit_grid import Tile, show_query, show_tiles
from imgret_assets.app.picture_files import data_thumbnail, file_thumbnail, picture_file
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.app.query_choice import (
    LIBRARY,
    SAMPLE,
    UPLOAD,
    Choice,
    can_go_back,
    choose,
    current_choice,
    go_back,
    load_choice,
    sample_names,
    upload_round,
)
from imgret_assets.app.relation_view import show_relations
from imgret_assets.app.shell import Shown, attempt, open_library, show_header
from imgret_assets.domain.home import Home
from imgret_assets.domain.search import MODES, Answer, Query, QueryImage

MAX_TOP_K = 100
DEFAULT_TOP_K = 12
EXAMPLES = 8
# A longer list is found by typing a part of the path first.
_PICKABLE = 1000
_KIND_TEXT = {UPLOAD: "Uploaded picture", LIBRARY: "From the library", SAMPLE: "Sample query"}


def show_search() -> None:
    """Draw the page as the session's state and the address say."""
    opened = open_library()
    if opened is None:
        return
    home, library = opened
    choice = current_choice()
    with st.sidebar:
        _show_pickers(library, sample_names(home))
        query = _show_controls(library)
    shown = Shown(home, library, show_header(home, library))
    if choice is None:
        _show_start(shown)
    else:
        _show_answer(shown, choice, query)


def _show_pickers(library: Library, samples: list[str]) -> None:
    st.subheader("Picture to ask with", anchor=False)
    key = f"upload-{upload_round()}"
    st.file_uploader(
        "Upload",
        key=key,
        on_change=_uploaded,
        args=(key,),
        help="It stays in memory: nothing is stored.",
    )
    if library.paths:
        _show_library_picker(library)
    if samples:
        _pick("Or a sample query", SAMPLE, samples)


def _show_library_picker(library: Library) -> None:
    paths = list(library.paths)
    if len(paths) > _PICKABLE:
        part = st.text_input("Path in the library contains", placeholder="part of a path")
        paths = [path for path in paths if part.casefold() in path.casefold()]
    hidden = len(paths) - _PICKABLE
    more = f" (the first {_PICKABLE:,}; {hidden:,} more)" if hidden > 0 else ""
    _pick(f"Or one of the library{more}", LIBRARY, paths[:_PICKABLE])


def _pick(label: str, kind: str, names: list[str]) -> None:
    # The round in the key empties the list when something else was chosen.
    key = f"pick-{kind}-{upload_round()}"
    st.selectbox(
        label,
        names,
        index=None,
        placeholder="choose",
        key=key,
        on_change=_picked,
        args=(key, kind),
        filter_mode="contains",
    )


def _uploaded(key: str) -> None:
    file = st.session_state[key]
    choose(Choice(UPLOAD, file.name, file.getvalue()) if file else None)


def _picked(key: str, kind: str) -> None:
    name = st.session_state[key]
    if name is not None:
        choose(Choice(kind, name))


def _show_controls(library: Library) -> Query:
    """The question's settings; each is part of the page's address, so that a view is a link."""
    st.subheader("How to look", anchor=False)
    top_k = st.slider("Hits", 1, MAX_TOP_K, DEFAULT_TOP_K, key="k", bind="query-params")
    mode = st.selectbox(
        "Mode",
        list(MODES),
        key="mode",
        bind="query-params",
        help="index: candidates from the vector index, scored exactly; exact: every picture is compared.",
    )
    min_score = st.number_input(
        "Lowest score",
        min_value=-1.0,
        max_value=1.0,
        value=None,
        step=0.05,
        placeholder="any",
        help="Raw cosine, from -1 to 1.",
        key="min",
        bind="query-params",
    )
    label = st.selectbox(
        "Folder",
        library.labels,
        index=None,
        placeholder="all",
        key="label",
        bind="query-params",
        filter_mode="contains",
    )
    itself = st.toggle("Include the picture itself", key="self", bind="query-params")
    return Query(top_k, mode, min_score, label, exclude_self=not itself, relations=True)


def _show_start(shown: Shown) -> None:
    """Pictures to click on while nothing is asked yet."""
    samples = [Choice(SAMPLE, name) for name in sample_names(shown.home)[:EXAMPLES]]
    own = [Choice(LIBRARY, path) for path in shown.library.spread(EXAMPLES)]
    if samples or own:
        st.subheader("Upload a picture at the left, or begin with one of these", anchor=False)
    for key, choices in (("sample", samples), ("start", own)):
        if choices:
            show_tiles(shown.home, [Tile(choice) for choice in choices], key=key)


def _show_answer(shown: Shown, choice: Choice, query: Query) -> None:
    st.subheader("Query", anchor=False)
    image = attempt(lambda: load_choice(choice, shown.home))
    with st.container(horizontal=True, gap="medium"):
        if image is not None:
            show_query(image, kind_text=_KIND_TEXT[choice.kind], max_pixels=shown.home.settings.max_pixels)
        st.button("Back", on_click=go_back, disabled=not can_go_back(), help="The picture asked with before")
        st.button("Clear", on_click=choose, args=(None,), help="Begin anew")
    if image is None or shown.facts is None:
        return
    answer = _show_hits(shown, image, query)
    if answer is not None and answer.results:
        show_relations(answer, _thumbnails(shown.home, image), threshold=shown.facts.state.threshold)


def _show_hits(shown: Shown, image: QueryImage, query: Query) -> Answer | None:
    st.subheader("Similar pictures", anchor=False)
    with st.spinner("Looking (the first time, the model is loaded) …", show_time=True):
        answer = attempt(lambda: ask(shown.home, image, query))
    if answer is None:
        return None
    if answer.refreshing:
        st.warning("A run was writing meanwhile: some hits or relations may be missing. Ask again when it is done.")
    st.caption(_about(answer, query))
    if not answer.results:
        st.info(_nothing_found(query))
    tiles = [
        Tile(Choice(LIBRARY, hit.path), f"#{rank} · **{hit.score:.3f}**") for rank, hit in enumerate(answer.results, 1)
    ]
    show_tiles(shown.home, tiles, key="hit")
    return answer


def _about(answer: Answer, query: Query) -> str:
    count = len(answer.results)
    parts = [f"{count:,} {'hit' if count == 1 else 'hits'}", f"mode {answer.mode}", f"{answer.took_ms:,.0f} ms"]
    if answer.itself:
        known = ", ".join(markdown_text(path) for path in answer.itself)
        parts.append(f"the query is in the library as {known} ({'left out' if query.exclude_self else 'included'})")
    return " · ".join(parts)


def _nothing_found(query: Query) -> str:
    ways = []
    if query.min_score is not None:
        ways.append("lower the lowest score")
    if query.label is not None:
        ways.append("choose all folders")
    return f"Nothing was found. What to do: {' or '.join(ways) or 'index more pictures with `imgret run`'}."


def _thumbnails(home: Home, image: QueryImage) -> Callable[[GraphNode, int], bytes]:
    max_pixels = home.settings.max_pixels

    def thumbnail(node: GraphNode, size: int) -> bytes:
        if node.kind == QUERY and (small := data_thumbnail(image.data, size, max_pixels=max_pixels)):
            return small
        return file_thumbnail(picture_file(home.images, node.path), size, max_pixels=max_pixels)

    return thumbnail
