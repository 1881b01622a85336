"""The page Graph: the relations round one image or one group, expanded by clicks.

Belongs here: the chart, its controls, the panel of the picture that was clicked. Not here: which pictures and lines are
shown (`app.graph_chart.neighbourhood`), their places (`app.graph_chart.layout`).
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from imgret_assets.app.components.group_list import GroupList, list_groups, read_group_list
from imgret_assets.app.components.library_picker import pickable_paths
from imgret_assets.app.components.relation_view import LABEL_CODE, TOOLTIP_CODE, framed_symbol
from imgret_assets.app.components.thumbnails import home_thumbnail, picture_facts, picture_file
from imgret_assets.app.data_access import read_among, read_nearest, read_nearest_among, read_relations
from imgret_assets.app.graph_chart.echarts_options import (
    FRAMES,
    QUERY,
    GraphNode,
    GraphView,
    canvas_height,
    echarts_options,
    line_legend,
)
from imgret_assets.app.graph_chart.neighbourhood import MAX_NODES, neighbourhood
from imgret_assets.app.navigation import COMPARE, GRAPH, GROUPS, SEARCH, open_page
from imgret_assets.app.page_frame import Shown, attempt, open_shown
from imgret_assets.app.plain_text import chart_text, counted, markdown_text
from imgret_assets.domain.images.files import label_of
from imgret_assets.domain.search.relations import Edge
from imgret_assets.errors import TableError

_HOPS = (1, 2, 3)
_NEAREST = 10
# Of a group's members so many each, or their lines would hide the pictures.
_NEAREST_AMONG = 2
# An address that is longer is cut off by some programs.
_ADDRESS_CHARACTERS = 1500
_FRAME_PX = 4
_PANEL_PX = 300
# Told apart by most people on white and on black, and from the start's; groups take them by turns.
_PALETTE = ("#1c7ed6", "#2f9e44", "#c2255c", "#7048e8", "#0c8599", "#a0522d", "#66a80f", "#5c7cfa")
_ALONE = "#868e96"
# The time tells a click on the same picture from the one before, which the component goes on answering.
_CLICKED = """function (point) {
  return point.dataType === 'node' ? { path: point.data.path, at: Date.now() } : undefined;
}"""
# Session state: what was expanded, the picture in the panel, the click before, and the start they belong to.
_EXPANDED, _SELECTED, _CLICK, _OF = "graph-expanded", "graph-picture", "graph-click", "graph-of"
_EXPAND = "expand"


@dataclass(frozen=True)
class Start:
    """Where the graph begins: an image, or a group's members, the representative first."""

    paths: list[str]
    is_group: bool = False


@dataclass(frozen=True)
class Controls:
    """The lowest score of lines, over how many of them to go, and whether near pictures are shown as well."""

    least: float
    hops: int
    nearest: bool


def show_graph() -> None:
    """Draw the page as the address (`image` or `group`, `expand`, `hops`, `least`, `nearest`) says."""
    shown = open_shown()
    if shown is None or shown.facts is None:
        return
    space = shown.facts.state.model
    groups = _groups(shown, space)
    start = _start(shown, groups)
    if start is None:
        return
    _begin_anew_where_changed(shown, start)
    controls = _show_controls(shown.facts.state.threshold)
    view = attempt(lambda: _view(shown, start, space, controls))
    if view is None:
        return
    chart, panel = st.columns([4, 1], gap="small")
    with chart:
        _show_legend(view)
        _show_chart(shown, _described(view, groups), groups)
    with panel:
        _show_panel(shown, groups, start, view)
    _show_table(view)


def _groups(shown: Shown, space: str) -> GroupList:
    """The groups, which only colour the frames; none where their table isn't there yet."""
    try:
        return read_group_list(shown.home, space)
    except TableError:
        return list_groups([])


def _start(shown: Shown, groups: GroupList) -> Start | None:
    """What the address names; None, and a way to choose, where it names nothing."""
    name = st.query_params.get("group")
    if name is not None:
        group = groups.named(name) or groups.named(groups.of(name) or "")
        if group is None:
            st.info(f"{markdown_text(name)} is in no group of two images or more. What to do: choose one under Groups.")
            return None
        return Start([member.path for member in group.members], is_group=True)
    path = st.query_params.get("image")
    if path is None:
        _show_picker(shown)
        return None
    if path not in set(shown.library.paths):
        st.error(f"There is no picture {markdown_text(path)} in the library. What to do: choose another one.")
        _show_picker(shown)
        return None
    return Start([path])


def _show_picker(shown: Shown) -> None:
    st.info("A graph begins with one picture: choose it here, or press Graph under a picture of another page.")
    paths, _ = pickable_paths(shown.library.paths, "Path contains")
    chosen = st.selectbox("Picture", paths, index=None, placeholder="choose", filter_mode="contains", key="graph-pick")
    if chosen is not None:
        open_page(GRAPH, image=chosen)


def _begin_anew_where_changed(shown: Shown, start: Start) -> None:
    key = (start.paths[0], start.is_group)
    if st.session_state.get(_OF) != key:
        known = set(shown.library.paths)
        linked = [path for path in dict.fromkeys(st.query_params.get_all(_EXPAND)) if path in known]
        st.session_state.update({_OF: key, _EXPANDED: linked[:MAX_NODES], _SELECTED: start.paths[0]})
    expanded: list[str] = st.session_state[_EXPANDED]
    # The view is a link as long as that is short enough.
    st.query_params[_EXPAND] = expanded if sum(map(len, expanded)) <= _ADDRESS_CHARACTERS else []


def _show_controls(threshold: float | None) -> Controls:
    floor = -1.0 if threshold is None else threshold
    with st.container(horizontal=True, vertical_alignment="bottom"):
        least = st.slider(
            "Lines with a score of at least",
            min_value=min(0.0, floor),
            max_value=1.0,
            value=min(0.0, floor),
            step=0.01,
            key="least",
            bind="query-params",
            help=f"Relations have scores above {floor:g}, the graph's threshold; dotted lines may have lower ones.",
            width=420,
        )
        hops = st.segmented_control(
            "Hops",
            _HOPS,
            default=_HOPS[0],
            required=True,
            key="hops",
            bind="query-params",
            help="Over how many relations the start is left: 1 shows what it is joined to.",
        )
        nearest = st.toggle(
            "Nearest neighbours, too",
            value=True,
            key="nearest",
            bind="query-params",
            help="Dotted lines to the nearest pictures of the start and of those expanded, joined or not; of a group, "
            "between its members.",
        )
        expanded: list[str] = st.session_state[_EXPANDED]
        if expanded:
            st.button(f"Fold {len(expanded):,} expanded", on_click=expanded.clear)
    return Controls(least, hops, nearest)


def _view(shown: Shown, start: Start, space: str, controls: Controls) -> GraphView:
    expanded: list[str] = st.session_state[_EXPANDED]
    followed = [*start.paths[:MAX_NODES], *expanded]
    edges, totals = read_relations(shown.home, followed, controls.least)
    for _ in range(controls.hops - 1):
        further = [path for path in _ends(edges) if path not in totals][: MAX_NODES - len(followed)]
        if not further:
            break
        more, counts = read_relations(shown.home, further, controls.least)
        followed, edges, totals = followed + further, edges + more, totals | counts
    around = _near(shown, start, expanded, space) if controls.nearest else []
    seen = list(dict.fromkeys([*followed, *_ends([*edges, *around])]))
    among = read_among(shown.home, seen[: 2 * MAX_NODES])
    return neighbourhood(start.paths, followed, [*among, *edges, *around], least=controls.least, totals=totals)


def _ends(edges: list[Edge]) -> list[str]:
    """The paths that lines join, each once, in order."""
    return list(dict.fromkeys(end for edge in edges for end in (edge.source, edge.target)))


def _near(shown: Shown, start: Start, expanded: list[str], space: str) -> list[Edge]:
    found: list[Edge] = []
    if start.is_group:
        found += read_nearest_among(shown.home, space, start.paths[:MAX_NODES], _NEAREST_AMONG)
    for path in expanded if start.is_group else [start.paths[0], *expanded]:
        found += read_nearest(shown.home, space, path, _NEAREST)
    return found


def _show_legend(view: GraphView) -> None:
    hidden = f" · **{view.hidden_text}**" if view.hidden_text else ""
    st.caption(
        f"{counted(len(view.nodes), 'picture')} · :orange[■] the start, other frames "
        f"by group, :gray[■] in none · {line_legend()}, :orange[dotted]: near but "
        "not joined; the wider the higher the score. Click a picture to see what it is, drag to move, scroll to zoom."
        f"{hidden}"
    )


def _described(view: GraphView, groups: GroupList) -> GraphView:
    """The view with a line for each picture: its group."""

    def said(node: GraphNode) -> str:
        group = groups.of(node.path)
        return "in no group" if group is None else f"group of {group}"

    return replace(view, nodes=[replace(node, said=said(node)) for node in view.nodes])


def frame_colours(nodes: Sequence[GraphNode], groups: GroupList) -> dict[str, str]:
    """Colours of the pictures' frames by path: the start's own, else the group's, in the order groups appear."""
    places: dict[str, int] = {}
    colours = {}
    for node in nodes:
        group = groups.of(node.path)
        place = None if group is None else places.setdefault(group, len(places))
        colours[node.path] = _ALONE if place is None else _PALETTE[place % len(_PALETTE)]
        if node.kind == QUERY:
            colours[node.path] = FRAMES[QUERY]
    return colours


def _show_chart(shown: Shown, view: GraphView, groups: GroupList) -> None:
    """Draw; the picture of a new click becomes the one in the panel."""
    # Imported where Streamlit runs: anywhere else the component can't register itself.
    from streamlit_echarts import JsCode, st_echarts

    options = echarts_options(
        view,
        _symbols(shown, frame_colours(view.nodes, groups)),
        query_name="",
        label_formatter=JsCode(LABEL_CODE),
        tooltip_formatter=JsCode(TOOLTIP_CODE),
    )
    # Another graph is another chart: in the same one, what was faded under the pointer would stay faded.
    drawn = zlib.crc32(repr(([node.path for node in view.nodes], view.links)).encode(errors="surrogatepass"))
    happened: Any = st_echarts(
        options, events={"click": _CLICKED}, height=f"{canvas_height(len(view.nodes))}px", key=f"graph-chart-{drawn}"
    )
    click = happened.get("chart_event") if happened else None
    if not click or click == st.session_state.get(_CLICK):
        return
    st.session_state[_CLICK] = click
    # The chart has the paths as it may be given them.
    paths = {chart_text(node.path): node.path for node in view.nodes}
    if click["path"] in paths:
        st.session_state[_SELECTED] = paths[click["path"]]


def _symbols(shown: Shown, colours: dict[str, str]) -> Callable[[GraphNode, int], tuple[str, int, int]]:
    home = shown.home

    def symbol(node: GraphNode, size: int) -> tuple[str, int, int]:
        file = picture_file(home.images, node.path)
        return framed_symbol(
            lambda px: home_thumbnail(home, file, px),
            size,
            colours[node.path],
            frame_px=_FRAME_PX,
        )

    return symbol


def _show_panel(shown: Shown, groups: GroupList, start: Start, view: GraphView) -> None:
    """The picture that was clicked or chosen in a list, which needs no mouse."""
    paths = [node.path for node in view.nodes]
    if st.session_state.get(_SELECTED) not in paths:
        st.session_state[_SELECTED] = start.paths[0]
    path = st.selectbox("Picture", paths, key=_SELECTED, filter_mode="contains")
    home = shown.home
    file = picture_file(home.images, path)
    small = home_thumbnail(home, file, _PANEL_PX)
    st.image(small, alt=path)
    st.text(path)
    _show_facts(shown, groups, path, picture_facts(file, max_pixels=home.settings.max_pixels).text)
    with st.container(horizontal=True, gap="xsmall"):
        _show_actions(groups, start, path)


def _show_actions(groups: GroupList, start: Start, path: str) -> None:
    first = start.paths[0]
    expanded: list[str] = st.session_state[_EXPANDED]
    st.button(
        "Expand",
        key="panel-expand",
        shortcut="e",
        disabled=path in start.paths or path in expanded,
        help="Show what this picture is joined to, too.",
        on_click=expanded.append,
        args=(path,),
    )
    if st.button("Start here", key="panel-start", disabled=path == first and not start.is_group):
        open_page(GRAPH, image=path)
    if st.button("Compare with the start", key="panel-compare", disabled=path == first):
        open_page(COMPARE, a=first, b=path)
    if st.button("Similar", key="panel-similar"):
        open_page(SEARCH, image=path)
    group = groups.of(path)
    if group is not None and st.button("Its group", key="panel-group", help=group):
        open_page(GROUPS, group=group)


def _show_facts(shown: Shown, groups: GroupList, path: str, about: str) -> None:
    related = attempt(lambda: read_relations(shown.home, [path], -1.0)[1].get(path, 0))
    parts = [about, f"folder {markdown_text(label_of(path) or '(root)')}"]
    if related is not None:
        parts.append(counted(related, "relation"))
    group = groups.of(path)
    size = 0 if (found := groups.named(group or "")) is None else found.size
    parts.append("in no group" if group is None else f"in a group of {size:,}, of {markdown_text(group)}")
    st.caption(" · ".join(parts))


def _show_table(view: GraphView) -> None:
    if not view.links:
        return
    with st.expander(f"Table of lines ({len(view.links):,})"):
        st.dataframe(
            {
                "score": [link.score for link in view.links],
                "line": [link.what for link in view.links],
                "from": [link.source for link in view.links],
                "to": [link.target for link in view.links],
            },
            hide_index=True,
            column_config={
                "score": st.column_config.NumberColumn(format="%.6f", width="small"),
                "line": st.column_config.TextColumn(width="small"),
                "from": st.column_config.TextColumn(width="large"),
                "to": st.column_config.TextColumn(width="large"),
            },
        )
