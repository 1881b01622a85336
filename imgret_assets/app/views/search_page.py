"""The page: a picture in, similar pictures and their relations out.

Belongs here: the order of things on the page, its controls and its states. Not here: finding
(`domain.search.find_similar`), the connection (`app.data_access`), the chart (`app.components.relation_view`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import streamlit as st

from imgret_assets.app.components.comparison import show_comparison
from imgret_assets.app.components.copy_folding import FoldedHit, fold_copies
from imgret_assets.app.components.hit_grid import Tile, show_query, show_tiles
from imgret_assets.app.components.library_picker import pickable_paths
from imgret_assets.app.components.query_choice import (
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
from imgret_assets.app.components.relation_view import show_relations
from imgret_assets.app.components.score_histogram import count_scores, histogram_chart
from imgret_assets.app.components.thumbnails import data_thumbnail, home_thumbnail, picture_file
from imgret_assets.app.data_access import all_scores, ask, read_copies
from imgret_assets.app.graph_chart.echarts_options import QUERY, GraphNode
from imgret_assets.app.navigation import COMPARE, open_page
from imgret_assets.app.page_frame import Shown, attempt, open_library, show_header
from imgret_assets.app.plain_text import counted, markdown_text
from imgret_assets.domain.images.library import Library
from imgret_assets.domain.search.query import MODES, Answer, Query, QueryImage
from imgret_assets.domain.storage.home import Home

MAX_TOP_K = 100
DEFAULT_TOP_K = 24
EXAMPLES = 8
_PASTED_TYPES = ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff")
_KIND_TEXT = {UPLOAD: "Uploaded picture", LIBRARY: "From the library", SAMPLE: "Sample query"}


@dataclass(frozen=True)
class Controls:
    """What the sidebar asks for: the query but its lowest score, and whether near copies are shown once."""

    query: Query
    folded: bool


def show_search() -> None:
    """Draw the page as the session's state and the address say."""
    opened = open_library()
    if opened is None:
        return
    home, library = opened
    choice = current_choice()
    with st.sidebar:
        _show_pickers(library, sample_names(home))
        controls = _show_controls(library)
    shown = Shown(home, library, show_header(home, library))
    if choice is None:
        _show_start(shown)
    else:
        _show_answer(shown, choice, controls)


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
    pasted = st.chat_input(
        "Or paste one here (Ctrl+V)", key="paste", accept_file=True, file_type=list(_PASTED_TYPES), on_submit=_pasted
    )
    del pasted
    if library.paths:
        _show_library_picker(library)
    if samples:
        _pick("Or a sample query", SAMPLE, samples)


def _show_library_picker(library: Library) -> None:
    paths, hidden = pickable_paths(library.paths, "Path in the library contains")
    more = f" (the first {len(paths):,}; {hidden:,} more)" if hidden else ""
    _pick(f"Or one of the library{more}", LIBRARY, paths)


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


def _pasted() -> None:
    said = st.session_state["paste"]
    if said and said.files:
        file = said.files[0]
        choose(Choice(UPLOAD, file.name, file.getvalue()))


def _picked(key: str, kind: str) -> None:
    name = st.session_state[key]
    if name is not None:
        choose(Choice(kind, name))


def _show_controls(library: Library) -> Controls:
    """The question's settings; each is part of the page's address, so that a view is a link."""
    st.subheader("How to look", anchor=False)
    top_k = st.slider("Hits", 1, MAX_TOP_K, DEFAULT_TOP_K, key="k", bind="query-params")
    mode = st.selectbox(
        "Mode",
        list(MODES),
        key="mode",
        bind="query-params",
        help="index: candidates from the vector index, scored exactly; exact: every picture is compared; rerank: every "
        "picture, ranked with the help of its neighbours (better where most kinds have ten pictures or more).",
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
    folded = st.toggle(
        "Fold near copies",
        value=True,
        key="fold",
        bind="query-params",
        help="Copies of one picture (see Duplicates) are shown once.",
    )
    itself = st.toggle("Include the picture itself", key="self", bind="query-params")
    return Controls(Query(top_k, mode, None, label, exclude_self=not itself, relations=True), folded)


def _show_start(shown: Shown) -> None:
    """Pictures to click on while nothing is asked yet."""
    samples = [Choice(SAMPLE, name) for name in sample_names(shown.home)[:EXAMPLES]]
    own = [Choice(LIBRARY, path) for path in shown.library.spread(EXAMPLES)]
    if samples or own:
        st.subheader("Upload a picture at the left, or begin with one of these", anchor=False)
    for key, choices in (("sample", samples), ("start", own)):
        if choices:
            show_tiles(shown.home, [Tile(choice) for choice in choices], key=key)


def _show_answer(shown: Shown, choice: Choice, controls: Controls) -> None:
    image = attempt(lambda: load_choice(choice, shown.home))
    with st.container(horizontal=True, gap="medium"):
        if image is not None:
            show_query(image, kind_text=_KIND_TEXT[choice.kind], max_pixels=shown.home.settings.max_pixels)
        with st.container(width="content"):
            st.button("Back", on_click=go_back, disabled=not can_go_back(), help="The picture asked with before")
            st.button("Clear", on_click=choose, args=(None,), help="Begin anew")
        spread = st.container(width="stretch")
    if image is None or shown.facts is None:
        return
    with spread:
        lowest = _show_lowest_score()
    answer = _show_hits(shown, image, replace(controls.query, min_score=lowest), folded=controls.folded)
    if answer is None:
        return
    with spread:
        _show_spread(shown, answer, lowest)
    if answer.results:
        _show_relations(shown, image, answer)


def _show_lowest_score() -> float | None:
    return st.number_input(
        "Lowest score",
        min_value=-1.0,
        max_value=1.0,
        value=None,
        step=0.05,
        placeholder="any",
        help="Raw cosine, from -1 to 1. What a score means differs from model to model: see Overview.",
        key="min",
        bind="query-params",
        width=180,
    )


def _show_spread(shown: Shown, answer: Answer, lowest: float | None) -> None:
    """How all scores are spread, where the vectors fit into memory and their tables are there."""
    scores = all_scores(shown.home, answer)
    if scores is None:
        return
    rows, chart = histogram_chart(count_scores(scores), lowest=lowest)
    st.vega_lite_chart(rows, chart, width="stretch")
    if lowest is not None:
        above = int((scores >= lowest).sum())
        st.caption(f"{above:,} of {len(scores):,} images have a score of {lowest:g} or more.")


def _show_hits(shown: Shown, image: QueryImage, query: Query, *, folded: bool) -> Answer | None:
    with st.spinner("Looking (the first time, the model is loaded) …", show_time=True):
        answer = attempt(lambda: ask(shown.home, image, query))
    if answer is None:
        return None
    if answer.refreshing:
        st.warning("A run was writing meanwhile: some hits or relations may be missing. Ask again when it is done.")
    copies = attempt(lambda: read_copies(shown.home, answer.results)) if folded else None
    hits = fold_copies(answer.results, copies or [])
    st.caption(_about(answer, query, len(hits)))
    if not answer.results:
        st.info(_nothing_found(query))
    compare = _comparing(shown, image, answer)
    tiles = [
        Tile(
            Choice(LIBRARY, folded_hit.hit.path),
            _headline(rank, folded_hit),
            label=folded_hit.hit.label,
            compare=compare,
        )
        for rank, folded_hit in enumerate(hits, 1)
    ]
    show_tiles(shown.home, tiles, key="hit")
    return answer


def _comparing(shown: Shown, image: QueryImage, answer: Answer) -> Callable[[str], None]:
    """Shows a hit beside the query: on a page with an address where both are in the library."""

    def compare(path: str) -> None:
        if answer.query_paths:
            open_page(COMPARE, a=answer.query_paths[0], b=path)
        else:
            _compare_upload(shown.home, answer.model, image, path)

    return compare


@st.dialog("Compare", width="large")
def _compare_upload(home: Home, space: str, image: QueryImage, path: str) -> None:
    found = attempt(lambda: load_choice(Choice(LIBRARY, path), home))
    if found is not None:
        show_comparison(home, space, image, found)


def _headline(rank: int, folded: FoldedHit) -> str:
    ranked = "" if folded.hit.rank_score is None else f" · ranked by {folded.hit.rank_score:.3f}"
    count = len(folded.copies)
    copies = f" · :violet-badge[+{count:,} {'copy' if count == 1 else 'copies'}]" if count else ""
    return f"#{rank} · **{folded.hit.score:.3f}**{ranked}{copies}"


@st.fragment
def _show_relations(shown: Shown, image: QueryImage, answer: Answer) -> None:
    threshold = shown.facts.state.threshold if shown.facts else None
    show_relations(answer, _thumbnails(shown.home, image), threshold=threshold)


def _about(answer: Answer, query: Query, shown: int) -> str:
    count = len(answer.results)
    parts = [counted(count, "hit"), f"mode {answer.mode}", f"{answer.took_ms:,.0f} ms"]
    if shown < count:
        parts.insert(1, f"near copies folded: {count - shown:,}")
    if answer.query_paths:
        known = ", ".join(markdown_text(path) for path in answer.query_paths)
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
        return home_thumbnail(home, picture_file(home.images, node.path), size)

    return thumbnail
