"""The start of the page Graph: a map of all images, the selected one, and a list of those that were chosen.

Belongs here: controls, the panel, the list and its downloads. Not here: the map in the browser
(`app.components.map_canvas`), its points (`app.components.map_reader`), the graph round one image
(`app.views.graph_page`).
"""

import csv
import io

import streamlit as st

from imgret_assets.app.components.library_picker import pickable_paths
from imgret_assets.app.components.map_canvas import map_canvas
from imgret_assets.app.components.map_reader import read_map_points
from imgret_assets.app.components.thumbnails import TILE_PX, home_thumbnail, image_facts
from imgret_assets.app.graph_chart.map_points import COLOURINGS, MapPoints
from imgret_assets.app.map_server import publish
from imgret_assets.app.navigation import GRAPH, GROUPS, SEARCH, open_page
from imgret_assets.app.page_frame import PageContext, try_or_show_error
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.images.files import image_file, label_of
from imgret_assets.domain.operations.group_export import album, list_of_files
from imgret_assets.domain.review.group_list import GroupList
from imgret_assets.domain.storage.derived_tables import MAP
from imgret_assets.wording import counted

# An album has its thumbnails inside: with more images it would be too large to open.
MAX_ALBUM = 500
_PANEL_PX = 300
_LISTED_PX = 420
# The address's name of the selected image, and session state: the chosen paths.
AT, _CHOSEN = "at", "map-chosen"


def show_map(context: PageContext, space: str, groups: GroupList) -> None:
    """Draw the map, and below it a choice of an image by its path."""
    points = try_or_show_error(lambda: read_map_points(context.home, space, context.library))
    if points is not None and points.paths:
        publish(context.home, points)
        _show_state(points)
        _show_map(context, points, groups)
    show_picker(context)


def _show_state(points: MapPoints) -> None:
    if points.is_current and not points.missing:
        return
    missing = f": it lacks {counted(points.missing, 'image')} of the library" if points.missing else ""
    st.warning(
        f"The map is of an earlier state{missing}. What to do: run `imgret run`, or materialise "
        f"`{MAP.asset}` in Dagster."
    )


# Only this part of the page is drawn again after a click.
@st.fragment
def _show_map(context: PageContext, points: MapPoints, groups: GroupList) -> None:
    colour_by = st.segmented_control(
        "Colour by", COLOURINGS, default=COLOURINGS[0], required=True, key="colour", bind="query-params"
    )
    selected = points.rows.get(st.query_params.get(AT, ""))
    chart, panel = st.columns([4, 1], gap="small")
    with chart:
        event = map_canvas(points, colour_by=colour_by, selected=selected, key="map")
    if event.picked is not None:
        selected = event.picked
        st.query_params[AT] = points.paths[selected]
    if event.chosen is not None:
        st.session_state[_CHOSEN] = [points.paths[row] for row in event.chosen.tolist()]
    chosen = [path for path in st.session_state.get(_CHOSEN, []) if path in points.rows]
    with panel:
        if selected is None:
            st.caption("Click an image to select it. Drag to move, scroll or pinch to zoom.")
        else:
            _show_panel(context, groups, points.paths[selected])
        if chosen:
            st.markdown(f"**{counted(len(chosen), 'image')}** in the list below the map")
    if chosen:
        _show_chosen(context, groups, chosen)


def _show_panel(context: PageContext, groups: GroupList, path: str) -> None:
    home = context.home
    file = image_file(home.images, path)
    st.image(home_thumbnail(home, file, _PANEL_PX), alt=path)
    st.text(path)
    facts = image_facts(file, max_pixels=home.settings.max_pixels, max_bytes=home.settings.max_bytes)
    group = groups.find(groups.group_of(path) or "")
    in_group = "no group" if group is None else f"group of {group.size:,} ({markdown_text(group.name)})"
    st.caption(f"{facts.text} · folder {markdown_text(label_of(path) or '(root)')} · {in_group}")
    with st.container(horizontal=True, gap="xsmall"):
        if st.button("Similar", key="map-similar", help="Search with this image"):
            open_page(SEARCH, image=path)
        if st.button("Neighbourhood", key="map-graph", help="Show the images it is related to"):
            open_page(GRAPH, image=path)
        if group is not None and st.button("Group", key="map-group", help="Open its group"):
            open_page(GROUPS, group=group.name)


def _show_chosen(context: PageContext, groups: GroupList, paths: list[str]) -> None:
    """Show the images of the lasso as a list; a row that is selected can be searched with."""
    st.subheader(f"{counted(len(paths), 'image')} selected", anchor=False)
    rows = st.dataframe(
        {
            "path": paths,
            "folder": [label_of(path) or "" for path in paths],
            "group": [groups.group_of(path) or "" for path in paths],
        },
        hide_index=True,
        height=min(_LISTED_PX, 38 + 35 * len(paths)),
        on_select="rerun",
        selection_mode="single-row",
        key="map-list",
    )
    places = [row for row in rows["selection"]["rows"] if row < len(paths)]
    path = paths[places[0]] if places else None
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        if st.button("Search", key="list-search", disabled=path is None, help="Search with the image of the row"):
            open_page(SEARCH, image=path or "")
        if st.button("Neighbourhood", key="list-graph", disabled=path is None, help="The images it is related to"):
            open_page(GRAPH, image=path or "")
        _show_downloads(context, groups, paths)
        st.button("Clear", key="list-clear", on_click=lambda: st.session_state.pop(_CHOSEN, None))
    if path is None:
        st.caption("Choose a row, by its left edge or with Space, to search with its image.")


def _show_downloads(context: PageContext, groups: GroupList, paths: list[str]) -> None:
    files = [context.home.images / path for path in paths]
    st.download_button(
        "List of files",
        data=lambda: list_of_files(files),
        file_name="imgret-map.txt",
        key="map-files",
        disabled=any("\n" in path for path in paths),
    )
    st.download_button("CSV", data=lambda: _as_csv(groups, paths), file_name="imgret-map.csv", key="map-csv")
    st.download_button(
        "Album (one HTML file)",
        data=lambda: _as_album(context, paths),
        file_name="imgret-map.html",
        mime="text/html",
        key="map-album",
        disabled=len(paths) > MAX_ALBUM,
        help=f"With thumbnails, of at most {MAX_ALBUM} images",
    )


def _as_csv(groups: GroupList, paths: list[str]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "folder", "group"])
    writer.writerows([path, label_of(path) or "", groups.group_of(path) or ""] for path in paths)
    return text.getvalue()


def _as_album(context: PageContext, paths: list[str]) -> bytes:
    files = [context.home.images / path for path in paths]
    page = album("Images of the map", files, paths, lambda file: home_thumbnail(context.home, file, TILE_PX))
    return page.encode("utf-8", "xmlcharrefreplace")


def show_picker(context: PageContext) -> None:
    """Show a choice of one image of the library, which opens the graph round it."""
    st.caption("Or open the images that one image is related to, by its path:")
    paths, _ = pickable_paths(context.library.paths, "Path contains")
    chosen = st.selectbox("Image", paths, index=None, placeholder="choose", filter_mode="contains", key="graph-pick")
    if chosen is not None:
        open_page(GRAPH, image=chosen)
