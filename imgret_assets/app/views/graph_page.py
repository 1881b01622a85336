"""The page Graph: a map of all images, or the relationships around one image or one group, expanded by clicks.

Belongs here: the chart of relationships, its controls, the panel of the selected image. Not here: the map
(`app.views.map_view`), which images and edges are shown (`app.graph_chart.neighbourhood`), their positions
(`app.graph_chart.layout`).
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from imgret_assets.app.components.thumbnails import TILE_PX, framed_symbol, home_thumbnail, image_facts
from imgret_assets.app.data_access import (
    read_nearest,
    read_nearest_among,
    read_relationships,
    read_relationships_among,
)
from imgret_assets.app.graph_chart.echarts_options import (
    FRAMES,
    LABEL_CODE,
    TOOLTIP_CODE,
    Position,
    Symbol,
    canvas_height_px,
    echarts_options,
    line_legend,
    node_positions,
    symbol_px,
)
from imgret_assets.app.graph_chart.graph_view import QUERY, GraphNode, GraphView
from imgret_assets.app.graph_chart.neighbourhood import MAX_NODES, neighbourhood
from imgret_assets.app.navigation import COMPARE, GRAPH, GROUPS, SEARCH, open_page
from imgret_assets.app.page_frame import PageContext, open_context, try_or_show_error
from imgret_assets.app.plain_text import chart_text, markdown_text
from imgret_assets.app.views.map_view import AT, show_map, show_picker
from imgret_assets.domain.images.files import image_file, label_of
from imgret_assets.domain.review.group_list import GroupList, list_groups, read_group_list
from imgret_assets.domain.search.relations import Edge
from imgret_assets.errors import TableError
from imgret_assets.wording import counted, score_text

_HOPS = (1, 2, 3)
_NEAREST = 10
# Of each member of a group: more lines would hide the images.
_NEAREST_AMONG = 2
# Some programs cut off a longer address.
_ADDRESS_CHARACTERS = 1500
_FRAME_PX = 4
_PANEL_PX = 300
# Most people can tell these apart on white and on black, and from the start's; groups take them in turn.
_PALETTE = ("#1c7ed6", "#2f9e44", "#c2255c", "#7048e8", "#0c8599", "#a0522d", "#66a80f", "#5c7cfa")
_UNGROUPED = "#868e96"
# The time distinguishes a second click on the same image from the first, which the component repeats in every run.
_ON_CLICK = """function (point) {
  return point.dataType === 'node' ? { path: point.data.path, at: Date.now() } : undefined;
}"""
# Session state: the expanded paths, the selected path, the last click, the positions of images, and the start that all
# of these belong to.
_EXPANDED, _SELECTED, _CLICK, _POSITIONS, _START = (
    "graph-expanded",
    "graph-picture",
    "graph-click",
    "graph-positions",
    "graph-of",
)
# The address's name of the expanded paths.
_EXPAND = "expand"


@dataclass(frozen=True)
class Start:
    """Where the graph starts: an image, or a group's members with the representative first."""

    paths: list[str]
    is_group: bool = False


@dataclass(frozen=True)
class Controls:
    """The lowest score of lines, how many relationships away images are shown, and if nearest neighbours are shown."""

    min_score: float
    hops: int
    nearest: bool


def show_graph() -> None:
    """Draw the page that the address describes.

    Without `image` and `group` it is the map (`at`, `colour`), otherwise the graph (`expand`, `hops`, `least`,
    `nearest`).
    """
    context = open_context()
    if context is None or context.facts is None:
        return
    space = context.facts.state.model
    groups = _read_groups(context, space)
    if not {"group", "image"} & set(st.query_params):
        show_map(context, space, groups)
        return
    start = _find_start(context, groups)
    if start is None:
        return
    _reset_if_start_changed(context, start)
    controls = _show_controls(context.facts.state.threshold)
    view = try_or_show_error(lambda: _read_view(context, start, space, controls))
    if view is None:
        return
    chart, panel = st.columns([4, 1], gap="small")
    with chart:
        _show_legend(view)
        _show_chart(context, _with_groups(view, groups), groups)
    with panel:
        _show_panel(context, groups, start, view)
    _show_table(view)


def _read_groups(context: PageContext, space: str) -> GroupList:
    """Return the groups, which only colour the frames; none if their table can't be read yet."""
    try:
        return read_group_list(context.home, space)
    except TableError:
        return list_groups([])


def _find_start(context: PageContext, groups: GroupList) -> Start | None:
    """Return the start that the address names; if there is no such image or group, show why and return None."""
    name = st.query_params.get("group")
    if name is not None:
        group = groups.find(name) or groups.find(groups.group_of(name) or "")
        if group is None:
            st.info(f"{markdown_text(name)} is not in a group. What to do: choose a group on the page Groups.")
            return None
        return Start([member.path for member in group.members], is_group=True)
    path = st.query_params["image"]
    if path not in set(context.library.paths):
        st.error(f"There is no image {markdown_text(path)} in the library. What to do: choose another one.")
        show_picker(context)
        return None
    return Start([path])


def _reset_if_start_changed(context: PageContext, start: Start) -> None:
    key = (start.paths[0], start.is_group)
    if st.session_state.get(_START) != key:
        known = set(context.library.paths)
        linked = [path for path in dict.fromkeys(st.query_params.get_all(_EXPAND)) if path in known]
        st.session_state.update({_START: key, _EXPANDED: linked[:MAX_NODES], _SELECTED: start.paths[0], _POSITIONS: {}})
    expanded: list[str] = st.session_state[_EXPANDED]
    # The address describes the view as long as it is short enough.
    st.query_params[_EXPAND] = expanded if sum(map(len, expanded)) <= _ADDRESS_CHARACTERS else []


def _show_controls(threshold: float | None) -> Controls:
    lowest = -1.0 if threshold is None else threshold
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if st.button("Map", key="graph-map", icon=":material/arrow_back:", help="The map of all images"):
            open_page(GRAPH)
        min_score = st.slider(
            "Minimum score of lines",
            min_value=min(0.0, lowest),
            max_value=1.0,
            value=min(0.0, lowest),
            step=0.01,
            key="least",
            bind="query-params",
            help=f"Relationships score above the graph's threshold, {lowest:g}; dotted lines may have lower scores.",
            width=420,
        )
        hops = st.segmented_control(
            "Hops",
            _HOPS,
            default=_HOPS[0],
            required=True,
            key="hops",
            bind="query-params",
            help="How many relationships to follow from the start: 1 shows the images it is related to.",
        )
        nearest = st.toggle(
            "Nearest neighbours",
            value=True,
            key="nearest",
            bind="query-params",
            help="Show the nearest neighbours of the start and of expanded images, related or not; for a group, those "
            "among its members.",
        )
        expanded: list[str] = st.session_state[_EXPANDED]
        if expanded:
            st.button(f"Collapse {len(expanded):,} expanded", on_click=expanded.clear)
    return Controls(min_score, hops, nearest)


def _read_view(context: PageContext, start: Start, space: str, controls: Controls) -> GraphView:
    home = context.home
    expanded: list[str] = st.session_state[_EXPANDED]
    followed = [*start.paths[:MAX_NODES], *expanded]
    edges, totals = read_relationships(home, followed, controls.min_score)
    for _ in range(controls.hops - 1):
        further = [path for path in _end_paths(edges) if path not in totals][: MAX_NODES - len(followed)]
        if not further:
            break
        further_edges, further_totals = read_relationships(home, further, controls.min_score)
        followed, edges, totals = followed + further, edges + further_edges, totals | further_totals
    nearest = _read_nearest_edges(context, start, expanded, space) if controls.nearest else []
    paths = list(dict.fromkeys([*followed, *_end_paths([*edges, *nearest])]))
    among = read_relationships_among(home, paths[: 2 * MAX_NODES])
    return neighbourhood(start.paths, followed, [*among, *edges, *nearest], min_score=controls.min_score, totals=totals)


def _end_paths(edges: list[Edge]) -> list[str]:
    """Return the paths at the ends of edges, each once, in order."""
    return list(dict.fromkeys(path for edge in edges for path in (edge.source, edge.target)))


def _read_nearest_edges(context: PageContext, start: Start, expanded: list[str], space: str) -> list[Edge]:
    edges: list[Edge] = []
    if start.is_group:
        edges += read_nearest_among(context.home, space, start.paths[:MAX_NODES], _NEAREST_AMONG)
    for path in expanded if start.is_group else [start.paths[0], *expanded]:
        edges += read_nearest(context.home, space, path, _NEAREST)
    return edges


def _show_legend(view: GraphView) -> None:
    hidden = f" **{view.hidden_text}.**" if view.hidden_text else ""
    st.caption(
        f"{counted(len(view.nodes), 'image')} · :orange[■] start, other frames by group, :gray[■] no group · "
        f"{line_legend('near but not related')}; the wider, the higher the score. "
        f"Click an image to select it, drag to move, scroll to zoom.{hidden}"
    )


def _with_groups(view: GraphView, groups: GroupList) -> GraphView:
    """Return the view with each image's group in its tooltip."""

    def description(path: str) -> str:
        group = groups.group_of(path)
        return "no group" if group is None else f"group of {group}"

    return replace(view, nodes=[replace(node, description=description(node.path)) for node in view.nodes])


def frame_colours(nodes: Sequence[GraphNode], groups: GroupList) -> dict[str, str]:
    """Return the colours of the images' frames by path: the start's own, else the group's, in order of appearance."""
    places: dict[str, int] = {}
    colours = {}
    for node in nodes:
        group = groups.group_of(node.path)
        place = None if group is None else places.setdefault(group, len(places))
        colours[node.path] = _UNGROUPED if place is None else _PALETTE[place % len(_PALETTE)]
        if node.kind == QUERY:
            colours[node.path] = FRAMES[QUERY]
    return colours


def _show_chart(context: PageContext, view: GraphView, groups: GroupList) -> None:
    """Draw the chart; a new click selects the image for the panel."""
    # Imported where Streamlit runs: anywhere else the component can't register itself.
    from streamlit_echarts import JsCode, st_echarts

    symbols = _symbols(context, view.nodes, frame_colours(view.nodes, groups))
    # Images that are already on the chart keep their arrangement when others are added.
    known: dict[str, Position] = st.session_state[_POSITIONS]
    positions = node_positions(view, symbols, known)
    st.session_state[_POSITIONS] = known | positions
    options = echarts_options(
        view, symbols, positions, label_formatter=JsCode(LABEL_CODE), tooltip_formatter=JsCode(TOOLTIP_CODE)
    )
    # Another graph is another chart: in the same one, images faded under the pointer would stay faded.
    key = zlib.crc32(repr(([node.path for node in view.nodes], view.edges)).encode(errors="surrogatepass"))
    result: Any = st_echarts(
        options, events={"click": _ON_CLICK}, height=f"{canvas_height_px(len(view.nodes))}px", key=f"graph-chart-{key}"
    )
    click = result.get("chart_event") if result else None
    if not click or click == st.session_state.get(_CLICK):
        return
    st.session_state[_CLICK] = click
    # The chart has the paths without what the component would run as code.
    paths = {chart_text(node.path): node.path for node in view.nodes}
    if click["path"] in paths:
        st.session_state[_SELECTED] = paths[click["path"]]


def _symbols(context: PageContext, nodes: Sequence[GraphNode], colours: dict[str, str]) -> list[Symbol]:
    home = context.home
    symbols = []
    for node in nodes:
        file = image_file(home.images, node.path)
        symbols.append(
            framed_symbol(
                home_thumbnail(home, file, TILE_PX),
                symbol_px(node.kind, len(nodes)),
                colours[node.path],
                frame_px=_FRAME_PX,
            )
        )
    return symbols


def _show_panel(context: PageContext, groups: GroupList, start: Start, view: GraphView) -> None:
    """Show the selected image; the list selects one without a mouse."""
    paths = [node.path for node in view.nodes]
    if st.session_state.get(_SELECTED) not in paths:
        st.session_state[_SELECTED] = start.paths[0]
    path = st.selectbox("Selected image", paths, key=_SELECTED, filter_mode="contains")
    home = context.home
    file = image_file(home.images, path)
    st.image(home_thumbnail(home, file, _PANEL_PX), alt=path)
    st.text(path)
    limits = {"max_pixels": home.settings.max_pixels, "max_bytes": home.settings.max_bytes}
    _show_facts(context, groups, path, image_facts(file, **limits).text)
    with st.container(horizontal=True, gap="xsmall"):
        _show_buttons(groups, start, path)


def _show_buttons(groups: GroupList, start: Start, path: str) -> None:
    first = start.paths[0]
    expanded: list[str] = st.session_state[_EXPANDED]
    st.button(
        "Expand",
        key="panel-expand",
        shortcut="e",
        disabled=path in start.paths or path in expanded,
        help="Add the images that this one is related to",
        on_click=expanded.append,
        args=(path,),
    )
    if st.button("Start here", key="panel-start", disabled=path == first and not start.is_group):
        open_page(GRAPH, image=path)
    if st.button("Compare with start", key="panel-compare", disabled=path == first):
        open_page(COMPARE, a=first, b=path)
    if st.button("Similar", key="panel-similar", help="Search with this image"):
        open_page(SEARCH, image=path)
    if st.button("On the map", key="panel-map", help="Show where it lies among all images"):
        open_page(GRAPH, **{AT: path})
    group = groups.group_of(path)
    if group is not None and st.button("Group", key="panel-group", help=f"Open the group of {markdown_text(group)}"):
        open_page(GROUPS, group=group)


def _show_facts(context: PageContext, groups: GroupList, path: str, sizes: str) -> None:
    relationships = try_or_show_error(lambda: read_relationships(context.home, [path], -1.0)[1].get(path, 0))
    parts = [sizes, f"folder {markdown_text(label_of(path) or '(root)')}"]
    if relationships is not None:
        parts.append(counted(relationships, "relationship"))
    name = groups.group_of(path)
    group = None if name is None else groups.find(name)
    parts.append("no group" if group is None else f"group of {group.size:,} ({markdown_text(group.name)})")
    st.caption(" · ".join(parts))


def _show_table(view: GraphView) -> None:
    if not view.edges:
        return
    with st.expander(f"Table of lines ({len(view.edges):,})"):
        st.dataframe(
            {
                "score": [score_text(edge.score, 6) for edge in view.edges],
                "line": [edge.kind for edge in view.edges],
                "from": [edge.source for edge in view.edges],
                "to": [edge.target for edge in view.edges],
            },
            hide_index=True,
            column_config={
                "score": st.column_config.TextColumn(width="small"),
                "line": st.column_config.TextColumn(width="small"),
                "from": st.column_config.TextColumn(width="large"),
                "to": st.column_config.TextColumn(width="large"),
            },
        )
