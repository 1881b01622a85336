"""The page Graph: the relations round one image or one group, expanded by clicks.

Belongs here: the chart, its controls, the panel of the picture that was clicked. Not here: which pictures and lines are
shown (`app.neighbourhood`), their places (`app.graph_layout`).
"""

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import streamlit as st

from imgret_assets.app.graph_access import read_among, read_nearest, read_relations
from imgret_assets.app.graph_payload import FRAMES, QUERY, GraphNode, GraphView, canvas_height, echarts_options
from imgret_assets.app.group_list import GroupList, list_groups, read_group_list
from imgret_assets.app.navigation import COMPARE, GRAPH, GROUPS, SEARCH, open_page
from imgret_assets.app.neighbourhood import MAX_NODES, Edge, neighbourhood
from imgret_assets.app.picture_files import file_thumbnail, framed_uri, picture_facts, picture_file
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.app.relation_view import LABEL_CODE, TOOLTIP_CODE
from imgret_assets.app.shell import Shown, attempt, open_shown
from imgret_assets.domain.thumbnails import thumbnails_folder
from imgret_assets.errors import TableError

_PICKABLE = 1000
_NEAREST = 10
_FRAME_PX = 4
_PANEL_PX = 300
# Told apart by most people on white and on black; groups take them by turns.
_PALETTE = ("#1c7ed6", "#2f9e44", "#0c8599", "#f08c00", "#e03131", "#5c7cfa", "#66a80f", "#c2255c")
_ALONE = "#868e96"
_CLICKED = "function (point) { return point.dataType === 'node' ? point.data.path : undefined; }"
_EXPANDED, _SELECTED, _OF = "graph-expanded", "graph-selected", "graph-of"


def show_graph() -> None:
    """Draw the page as the address (`image` or `group`, `least`) says."""
    shown = open_shown()
    if shown is None or shown.facts is None:
        return
    space = shown.facts.state.model
    groups = _groups(shown, space)
    starts = _starts(shown, groups)
    if starts is None:
        return
    _begin_anew_where_changed(starts[0])
    floor = shown.facts.state.threshold if shown.facts.state.threshold is not None else -1.0
    least, nearest = _show_controls(floor)
    view = attempt(lambda: _view(shown, starts, space, least, nearest=nearest))
    if view is None:
        return
    chart, panel = st.columns([4, 1], gap="small")
    with chart:
        _show_legend(view)
        clicked = _show_chart(shown, _described(view, groups), groups)
    if clicked and clicked != st.session_state.get(_SELECTED):
        st.session_state[_SELECTED] = clicked
    with panel:
        _show_panel(shown, groups, starts[0])


def _groups(shown: Shown, space: str) -> GroupList:
    """The groups, which only colour the frames; none where their table isn't there yet."""
    try:
        return read_group_list(shown.home, space)
    except TableError:
        return list_groups([])


def _starts(shown: Shown, groups: GroupList) -> list[str] | None:
    """The image, or the group's members, that the address names; None, and a way to choose, where it names none."""
    name = st.query_params.get("group")
    if name is not None:
        group = groups.named(name) or groups.named(groups.of(name) or "")
        if group is None:
            st.info(f"{markdown_text(name)} is in no group of two images or more. What to do: choose one under Groups.")
            return None
        return [member.path for member in group.members]
    path = st.query_params.get("image")
    if path is None:
        _show_picker(shown)
        return None
    if path not in set(shown.library.paths):
        st.error(f"There is no picture {markdown_text(path)} in the library. What to do: choose another one.")
        _show_picker(shown)
        return None
    return [path]


def _show_picker(shown: Shown) -> None:
    st.info("A graph begins with one picture: choose it here, or press Graph under a picture of another page.")
    paths = list(shown.library.paths)
    if len(paths) > _PICKABLE:
        part = st.text_input("Path contains", placeholder="part of a path")
        paths = [path for path in paths if part.casefold() in path.casefold()][:_PICKABLE]
    chosen = st.selectbox("Picture", paths, index=None, placeholder="choose", filter_mode="contains", key="graph-pick")
    if chosen is not None:
        open_page(GRAPH, image=chosen)


def _begin_anew_where_changed(start: str) -> None:
    if st.session_state.get(_OF) != start:
        st.session_state.update({_OF: start, _EXPANDED: [], _SELECTED: start})


def _show_controls(floor: float) -> tuple[float, bool]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        least = st.slider(
            "Lines with a score of at least",
            min_value=-1.0,
            max_value=1.0,
            value=0.0,
            step=0.01,
            key="least",
            bind="query-params",
            help=f"Relations have scores above {floor:g}, the graph's threshold; dotted lines may have lower ones.",
            width=420,
        )
        nearest = st.toggle(
            "Nearest neighbours, too",
            value=True,
            key="nearest",
            bind="query-params",
            help="Dotted lines to the nearest pictures of the start and of those expanded, joined or not.",
        )
        expanded: list[str] = st.session_state[_EXPANDED]
        if expanded:
            st.button(f"Fold {len(expanded):,} expanded", on_click=expanded.clear)
    return least, nearest


def _view(shown: Shown, starts: list[str], space: str, least: float, *, nearest: bool) -> GraphView:
    expanded: list[str] = st.session_state[_EXPANDED]
    followed = [*starts[:MAX_NODES], *expanded]
    edges, totals = read_relations(shown.home, followed)
    around: list[Edge] = []
    if nearest:
        for path in [starts[0], *expanded]:
            around += read_nearest(shown.home, space, path, _NEAREST)
    seen = list(dict.fromkeys([*followed, *(end for edge in [*edges, *around] for end in (edge.source, edge.target))]))
    among = read_among(shown.home, seen[: 2 * MAX_NODES])
    return neighbourhood(starts, expanded, [*among, *edges, *around], least=least, totals=totals)


def _show_legend(view: GraphView) -> None:
    hidden = f" · **{view.hidden_text}**" if view.hidden_text else ""
    st.caption(
        f"{len(view.nodes):,} pictures · :orange[■] the start, other frames by group · solid line: SIMILAR_TO, violet: "
        "DUPLICATE_OF, dotted: near but not joined; the wider the higher the score. Click a picture to see what it is, "
        f"drag to move, scroll to zoom.{hidden}"
    )


def _described(view: GraphView, groups: GroupList) -> GraphView:
    """The view with a line for each picture: its group."""

    def said(node: GraphNode) -> str:
        group = groups.of(node.path)
        return "in no group" if group is None else f"group of {group}"

    return replace(view, nodes=[replace(node, said=said(node)) for node in view.nodes])


def frame_colour(node: GraphNode, groups: GroupList) -> str:
    """Colour of a picture's frame: the start's own, else its group's."""
    if node.kind == QUERY:
        return FRAMES[QUERY]
    group = groups.of(node.path)
    return _ALONE if group is None else _PALETTE[zlib.crc32(group.encode()) % len(_PALETTE)]


def _show_chart(shown: Shown, view: GraphView, groups: GroupList) -> str | None:
    """Draw; the path that was clicked."""
    # Imported where Streamlit runs: anywhere else the component can't register itself.
    from streamlit_echarts import JsCode, st_echarts

    options = echarts_options(
        view,
        _symbols(shown, groups),
        query_name="",
        label_formatter=JsCode(LABEL_CODE),
        tooltip_formatter=JsCode(TOOLTIP_CODE),
    )
    happened: Any = st_echarts(
        options, events={"click": _CLICKED}, height=f"{canvas_height(len(view.nodes))}px", key="graph-chart"
    )
    clicked = happened.get("chart_event") if happened else None
    return clicked if clicked in {node.path for node in view.nodes} else None


def _symbols(shown: Shown, groups: GroupList) -> Callable[[GraphNode, int], tuple[str, int, int]]:
    home = shown.home
    folder, limit = thumbnails_folder(home), home.settings.max_pixels

    def symbol(node: GraphNode, size: int) -> tuple[str, int, int]:
        file = picture_file(home.images, node.path)
        small = file_thumbnail(file, size, max_pixels=limit, folder=folder)
        return framed_uri(small, frame_colour(node, groups), frame_px=_FRAME_PX)

    return symbol


def _show_panel(shown: Shown, groups: GroupList, start: str) -> None:
    path: str = st.session_state[_SELECTED]
    home = shown.home
    file = picture_file(home.images, path)
    small = file_thumbnail(file, _PANEL_PX, max_pixels=home.settings.max_pixels, folder=thumbnails_folder(home))
    st.image(small, alt=path)
    st.text(path)
    st.caption(picture_facts(file, max_pixels=home.settings.max_pixels).text)
    group = groups.of(path)
    expanded: list[str] = st.session_state[_EXPANDED]
    st.button(
        "Expand",
        key="panel-expand",
        shortcut="e",
        disabled=path == start or path in expanded,
        help="Show what this picture is joined to, too.",
        on_click=expanded.append,
        args=(path,),
    )
    if st.button("Start here", key="panel-start", disabled=path == start):
        open_page(GRAPH, image=path)
    if st.button("Compare with the start", key="panel-compare", disabled=path == start):
        open_page(COMPARE, a=start, b=path)
    if st.button("Similar", key="panel-similar"):
        open_page(SEARCH, image=path)
    if group is not None and st.button("Its group", key="panel-group"):
        open_page(GROUPS, group=group)
