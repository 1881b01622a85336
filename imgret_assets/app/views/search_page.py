"""The page Search: a query image in, similar images and their relationships out.

Belongs here: the order of sections, the controls and the states. Not here: searching (`domain.search.find_similar`),
the connection (`app.data_access`), the chart (`app.components.hit_relationships`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import streamlit as st

from imgret_assets.app.components.comparison import show_comparison
from imgret_assets.app.components.duplicate_hits import GroupedHit, group_duplicates
from imgret_assets.app.components.hit_relationships import show_relationships
from imgret_assets.app.components.image_tiles import Tile, show_tiles
from imgret_assets.app.components.library_picker import pickable_paths
from imgret_assets.app.components.page_keys import UPLOADER_KEY, add_keys
from imgret_assets.app.components.query_choice import (
    LIBRARY,
    SAMPLE,
    UPLOAD,
    Choice,
    ChosenQuery,
    add,
    can_go_back,
    choose,
    current_query,
    go_back,
    load_choice,
    load_parts,
    sample_names,
    uploader_version,
)
from imgret_assets.app.components.query_row import show_query
from imgret_assets.app.components.query_words import Words, clear_words, show_query_words, show_words
from imgret_assets.app.components.score_histogram import SELECTION, count_scores, histogram_chart, selected_score
from imgret_assets.app.components.thumbnails import TILE_PX, data_thumbnail, home_thumbnail
from imgret_assets.app.data_access import compute_all_scores, read_duplicates, search
from imgret_assets.app.graph_chart.graph_view import QUERY, GraphNode
from imgret_assets.app.navigation import COMPARE, open_page
from imgret_assets.app.page_frame import PageContext, open_library, show_header, try_or_show_error
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.images.files import image_file
from imgret_assets.domain.images.library import Library
from imgret_assets.domain.search.query import MODES, Answer, Query, QueryImage
from imgret_assets.domain.search.query_parts import QueryPart
from imgret_assets.domain.storage.home import Home
from imgret_assets.wording import counted, score_text

MAX_TOP_K = 240
DEFAULT_TOP_K = HITS_PER_PAGE = 24
EXAMPLES = 8
_ADDS = "add-to-query"
_IN_SIDEBAR = "uploader-in-sidebar"


@dataclass(frozen=True)
class Searched:
    """What is searched with: the chosen images, of which the first is loaded, and words."""

    chosen: ChosenQuery | None
    image: QueryImage | None
    words: Words

    @property
    def is_one_image(self) -> bool:
        """True for one image without words."""
        return self.chosen is not None and self.chosen.is_one_image and not self.words.parts()

    def parts(self, home: Home) -> list[QueryPart]:
        """Return the parts of the query; raise what `load_parts` raises."""
        if self.chosen is None or self.image is None:
            return self.words.parts()
        return [*load_parts(self.chosen, self.image, home), *self.words.parts()]


@dataclass(frozen=True)
class Controls:
    """The settings of the sidebar: the query without its minimum score, and whether duplicates are grouped."""

    query: Query
    groups_duplicates: bool


def show_search() -> None:
    """Draw the page that the session's state and the address describe."""
    opened = open_library()
    if opened is None:
        return
    home, library = opened
    chosen = current_query()
    with st.sidebar:
        st.subheader("Query", anchor=False)
        uploader = st.container()
        _show_pickers(library, sample_names(home), has_query=chosen is not None)
        words = show_words(home)
        is_start = chosen is None and not words.text
        # It never moves back: while a second file replaces the first there is no query, and an uploader that moved then
        # would lose the file.
        st.session_state[_IN_SIDEBAR] = st.session_state.get(_IN_SIDEBAR, False) or not is_start
        if st.session_state[_IN_SIDEBAR]:
            with uploader:
                _show_uploader()
        controls = _show_controls(library)
    context = PageContext(home, library, show_header(home, library))
    add_keys()
    if is_start:
        if not st.session_state[_IN_SIDEBAR]:
            # In the middle: a narrow window hides the sidebar.
            _show_uploader()
        _show_examples(context)
    else:
        _show_answer(context, chosen, words, controls)


def _show_uploader() -> None:
    key = f"{UPLOADER_KEY}{uploader_version()}"
    st.file_uploader(
        "Upload, drop or paste",
        key=key,
        on_change=_choose_upload,
        args=(key,),
        help="Drop an image anywhere on the page, or paste it with Ctrl+V. It stays in memory and is not stored.",
    )


def _show_pickers(library: Library, samples: list[str], *, has_query: bool) -> None:
    if library.paths:
        _show_library_picker(library)
    if samples:
        _show_picker("Or a sample query", SAMPLE, samples)
    st.toggle(
        "Add to the query",
        key=_ADDS,
        disabled=not has_query,
        help="Search with the next image together with those of the query, instead of with it alone.",
    )


def _show_library_picker(library: Library) -> None:
    paths, hidden = pickable_paths(library.paths, "Path in the library contains")
    more = f" (the first {len(paths):,}; {hidden:,} more)" if hidden else ""
    _show_picker(f"Or an image of the library{more}", LIBRARY, paths)


def _show_picker(label: str, kind: str, names: list[str]) -> None:
    # The uploader's version in the key empties the list when another image is chosen elsewhere.
    key = f"pick-{kind}-{uploader_version()}"
    st.selectbox(
        label,
        names,
        index=None,
        placeholder="choose",
        key=key,
        on_change=_choose_picked,
        args=(key, kind),
        filter_mode="contains",
    )


def _choose_upload(key: str) -> None:
    file = st.session_state[key]
    if st.session_state.get(_ADDS):
        # The uploader empties itself before it takes another file.
        if file is not None:
            add(Choice(UPLOAD, file.name, file.getvalue()))
        return
    choose(Choice(UPLOAD, file.name, file.getvalue()) if file else None, keep_upload=True)


def _choose_picked(key: str, kind: str) -> None:
    name = st.session_state[key]
    if name is not None:
        (add if st.session_state.get(_ADDS) else choose)(Choice(kind, name))


def _show_controls(library: Library) -> Controls:
    """Show the settings of the search; each is part of the address, so that a view is a link."""
    st.subheader("Search settings", anchor=False)
    top_k = st.slider("Hits", 1, MAX_TOP_K, DEFAULT_TOP_K, key="k", bind="query-params")
    mode = st.selectbox(
        "Mode",
        list(MODES),
        key="mode",
        bind="query-params",
        help="index: candidates from the vector index, with exact scores; exact: compares every image; rerank: "
        "compares every image and ranks it with the help of its neighbours (better if most kinds have ten images or "
        "more).",
    )
    folder = _show_folder("folder", "Folder", library.folders)
    label = _show_label(library)
    shot = _show_shot_filters(library)
    groups_duplicates = st.toggle(
        "Group duplicates",
        value=True,
        key="fold",
        bind="query-params",
        help="Show exact duplicates and near-duplicates of each other once, at the best hit (see Duplicates).",
    )
    includes_query = st.toggle("Include the query image", key="self", bind="query-params")
    query = Query(top_k, mode, None, label, exclude_self=not includes_query, relations=True)
    return Controls(replace(query, folder=folder, **shot), groups_duplicates)


def _show_folder(name: str, title: str, folders: Sequence[str]) -> str | None:
    return st.selectbox(
        title, folders, index=None, placeholder="all", key=name, bind="query-params", filter_mode="contains"
    )


def _show_label(library: Library) -> str | None:
    """Show the filter by folder without what lies below, where a folder has images both in it and below it."""
    around = {folder.rpartition("/")[0] for folder in library.folders}
    both = [label for label in library.labels if label in around]
    if both or st.session_state.get("label") or st.query_params.get("label"):
        return _show_folder("label", "Folder without subfolders", library.labels)
    return None


def _show_shot_filters(library: Library) -> dict[str, str | None]:
    """Show the filters by what cameras wrote into the photos; nothing where there is nothing to filter by."""
    found: dict[str, str | None] = {}
    if library.taken is None and not library.cameras:
        return found
    is_used = any(st.session_state.get(name) or st.query_params.get(name) for name in ("since", "until", "camera"))
    with st.expander("Date and camera", expanded=is_used):
        if library.taken is not None:
            # A text names a whole year or month, too, and is the same as for the command.
            for name, title, date in zip(
                ("since", "until"), ("Taken since", "Taken until"), library.taken, strict=True
            ):
                text = st.text_input(
                    title,
                    placeholder=f"{date:%Y-%m-%d}",
                    key=name,
                    bind="query-params",
                    help="A year, month, day, or date and time by the camera's clock: 2024, 2024-05, 2024-05-31, "
                    "2024-05-31 10:20. Photos without a date are left out.",
                )
                found[name] = text.strip() or None
        if library.cameras:
            found["camera"] = st.selectbox(
                "Camera",
                library.cameras,
                index=None,
                placeholder="all",
                key="camera",
                bind="query-params",
                filter_mode="contains",
            )
    return found


def _show_examples(context: PageContext) -> None:
    """Show some images to start with."""
    samples = [Choice(SAMPLE, name) for name in sample_names(context.home)[:EXAMPLES]]
    library = [Choice(LIBRARY, path) for path in context.library.spread(EXAMPLES)]
    if samples or library:
        st.subheader("Drop or paste an image anywhere, upload one, or start with one of these", anchor=False)
    for key, choices in (("sample", samples), ("start", library)):
        if choices:
            show_tiles(context.home, [Tile(choice) for choice in choices], key=key)


def _show_answer(context: PageContext, chosen: ChosenQuery | None, words: Words, controls: Controls) -> None:
    image = None if chosen is None else try_or_show_error(lambda: load_choice(chosen.images[0], context.home))
    with st.container(horizontal=True, gap="medium"):
        if chosen is not None and image is not None:
            show_query(context.home, chosen, image)
        show_query_words(words)
        with st.container(width="content"):
            st.button("Back", on_click=go_back, disabled=not can_go_back(), help="Return to the previous query")
            st.button("Clear", on_click=_clear, help="Start again without image and words")
        scores = st.container(width="stretch")
    if (chosen is not None and image is None) or context.facts is None:
        return
    with scores:
        min_score = _show_min_score()
    query = replace(controls.query, min_score=min_score)
    searched = Searched(chosen, image, words)
    answer = _show_hits(context, searched, query, groups_duplicates=controls.groups_duplicates)
    if answer is None:
        return
    with scores:
        _show_histogram(context, answer, min_score)
    if answer.results:
        _show_relationships(context, searched, answer)


def _clear() -> None:
    clear_words()
    choose(None)


def _show_min_score() -> float | None:
    return st.number_input(
        "Minimum score",
        min_value=-1.0,
        max_value=1.0,
        value=None,
        step=0.05,
        format="%.3f",
        placeholder="any",
        help="Raw cosine, from -1 to 1. Its meaning differs from model to model: see Overview. A click into the chart "
        "sets it.",
        key="min",
        bind="query-params",
        width=180,
    )


def _show_histogram(context: PageContext, answer: Answer, min_score: float | None) -> None:
    """Show the distribution of all scores; nothing while the tables can't be used."""
    scores = compute_all_scores(context.home, answer)
    if scores is None:
        return
    rows, chart = histogram_chart(count_scores(scores), min_score=min_score)
    # With every minimum another chart: its selection is empty, so that the same bar can be clicked again.
    key = f"scores-{min_score}"
    st.vega_lite_chart(
        rows,
        chart,
        width="stretch",
        key=key,
        on_select=lambda: _choose_min_score(key),
        selection_mode=SELECTION,
        alt="Number of images by score",
    )
    if min_score is not None:
        count = int((scores >= min_score).sum())
        st.caption(f"{count:,} of {counted(len(scores), 'image')} with a score of {min_score:g} or more.")


def _choose_min_score(key: str) -> None:
    score = selected_score(st.session_state[key]["selection"])
    if score is not None:
        st.session_state["min"] = score


def _show_hits(context: PageContext, searched: Searched, query: Query, *, groups_duplicates: bool) -> Answer | None:
    with st.spinner("Searching (the first search loads the model) …", show_time=True):
        answer = try_or_show_error(lambda: search(context.home, searched.parts(context.home), query))
    if answer is None:
        return None
    if answer.truncated:
        st.warning("The words are longer than the model reads: their end was left out.")
    for message in answer.unusable:
        st.warning(f"Searched without an image: {markdown_text(message)}")
    if answer.refreshing:
        st.warning("A run was writing during the search: hits or relationships may be missing. Search again later.")
    pairs = try_or_show_error(lambda: read_duplicates(context.home, answer.results)) if groups_duplicates else None
    hits = group_duplicates(answer.results, pairs or [])
    st.caption(_summary(answer, query, len(hits)))
    if not answer.results:
        st.info(_no_hits_text(query))
    pages = -(-len(hits) // HITS_PER_PAGE)
    # Of another query image, the first page is shown.
    page_key = f"hits-{uploader_version()}"
    number = st.pagination(pages, key=page_key) if pages > 1 else 1
    start = (number - 1) * HITS_PER_PAGE
    compare = _compare_with(context, searched, answer)
    tiles = [
        Tile(
            Choice(LIBRARY, grouped.hit.path),
            _headline(rank, grouped),
            label=grouped.hit.label,
            compare=compare,
            can_mark=searched.chosen is not None,
        )
        for rank, grouped in enumerate(hits[start : start + HITS_PER_PAGE], start + 1)
    ]
    show_tiles(context.home, tiles, key="hit")
    if number >= pages and len(answer.results) == query.top_k < MAX_TOP_K:
        st.button("More hits", on_click=_show_more, args=(query.top_k, page_key, pages + 1))
    return answer


def _show_more(top_k: int, page_key: str, number: int) -> None:
    st.session_state["k"] = min(MAX_TOP_K, top_k + HITS_PER_PAGE)
    st.session_state[page_key] = number


def _compare_with(context: PageContext, searched: Searched, answer: Answer) -> Callable[[str], None] | None:
    """Return a function that shows a hit beside the first image; if both are in the library, on the page Compare."""
    image = searched.image
    if image is None:
        return None
    own_paths = answer.query_paths if searched.is_one_image else [image.path] if image.path is not None else []

    def compare(path: str) -> None:
        if own_paths:
            open_page(COMPARE, a=own_paths[0], b=path)
        else:
            _compare_upload(context.home, answer.model, image, path)

    return compare


@st.dialog("Compare", width="large")
def _compare_upload(home: Home, space: str, image: QueryImage, path: str) -> None:
    hit_image = try_or_show_error(lambda: load_choice(Choice(LIBRARY, path), home))
    if hit_image is not None:
        show_comparison(home, space, image, hit_image)


def _headline(rank: int, grouped: GroupedHit) -> str:
    rank_score = "" if grouped.hit.rank_score is None else f" · ranked by {score_text(grouped.hit.rank_score)}"
    count = len(grouped.duplicates)
    duplicates = f" · :violet-badge[+{counted(count, 'duplicate')}]" if count else ""
    return f"#{rank} · **{score_text(grouped.hit.score)}**{rank_score}{duplicates}"


@st.fragment
def _show_relationships(context: PageContext, searched: Searched, answer: Answer) -> None:
    threshold = context.facts.state.threshold if context.facts else None
    if not searched.is_one_image:
        # The scores are those of all parts together, of which none is the node of the query.
        answer = replace(answer, query_paths=[])
    show_relationships(answer, _node_thumbnails(context.home, searched.image), threshold=threshold)


def _summary(answer: Answer, query: Query, shown: int) -> str:
    count = len(answer.results)
    # A narrow window hides the sidebar, where the filters are.
    hits = " ".join([counted(count, "hit"), *_filters_text(query)])
    parts = [hits, f"mode {answer.mode}", f"{answer.took_ms:,.0f} ms"]
    if shown < count:
        parts.insert(1, f"{counted(count - shown, 'duplicate')} grouped")
    if answer.query_paths:
        paths = ", ".join(markdown_text(path) for path in answer.query_paths)
        of_query = "query image" if len(answer.parts) <= 1 else "images of the query"
        parts.append(f"{of_query} in the library: {paths} ({'left out' if query.exclude_self else 'included'})")
    return " · ".join(parts)


def _filters_text(query: Query) -> list[str]:
    """Return the filters of a query, each as the end of a sentence about its hits."""
    texts = {
        "in": query.folder,
        "directly in": query.label,
        "since": query.since,
        "until": query.until,
        "by": query.camera,
    }
    return [f"{word} {markdown_text(value)}" for word, value in texts.items() if value is not None]


def _no_hits_text(query: Query) -> str:
    remedies = []
    if query.min_score is not None:
        remedies.append("lower the minimum score")
    if query.label is not None or query.folder is not None:
        remedies.append("choose all folders")
    if query.has_shot_filters:
        remedies.append("choose other dates or all cameras")
    return f"No hits. What to do: {' or '.join(remedies) or 'index more images with `imgret run`'}."


def _node_thumbnails(home: Home, image: QueryImage | None) -> Callable[[GraphNode], bytes]:
    max_pixels = home.settings.max_pixels

    def thumbnail(node: GraphNode) -> bytes:
        if (
            node.kind == QUERY
            and image is not None
            and (query_thumbnail := data_thumbnail(image.data, TILE_PX, max_pixels=max_pixels))
        ):
            return query_thumbnail
        return home_thumbnail(home, image_file(home.images, node.path), TILE_PX)

    return thumbnail
