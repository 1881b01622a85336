"""The page Groups: all groups, or one of them with its members, its name and its export.

Belongs here: cards and controls. Not here: which groups there are and their names (`domain.review.group_list`,
`domain.analysis.groups_table`), the exported files (`domain.operations.group_export`).
"""

import csv
import io
import shlex
from collections.abc import Mapping

import streamlit as st

from imgret_assets.app.components.image_tiles import tile_grid
from imgret_assets.app.components.page_keys import add_keys
from imgret_assets.app.components.thumbnails import TILE_PX, home_thumbnail, home_tiles
from imgret_assets.app.navigation import COMPARE, GRAPH, GROUPS, SEARCH, open_page
from imgret_assets.app.page_frame import PageContext, open_context, try_or_show_error
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.images.files import image_file
from imgret_assets.domain.operations.group_export import album, list_of_files
from imgret_assets.domain.review.decision_log import MAX_NAME
from imgret_assets.domain.review.group_list import (
    BY_SIZE,
    BY_TIGHTNESS,
    GroupList,
    GroupMember,
    ImageGroup,
    read_group_list,
    read_names,
)
from imgret_assets.domain.review.group_names import name_group
from imgret_assets.wording import counted, score_text

GROUPS_PER_PAGE = 20
MEMBERS_PER_PAGE = 48
_FOLDERS_NAMED = 3


def show_groups() -> None:
    """Draw the page that the address (`group`, or the list's controls) describes."""
    context = open_context()
    if context is None or context.facts is None:
        return
    space = context.facts.state.model
    groups = try_or_show_error(lambda: read_group_list(context.home, space))
    if groups is None:
        return
    add_keys()
    names = try_or_show_error(lambda: read_names(context.home, space, groups))
    if names is None:
        return
    name = st.query_params.get("group")
    if name is None:
        _show_list(context, groups, names)
        return
    if st.button("All groups", icon=":material/arrow_back:"):
        open_page(GROUPS)
    group = groups.find(name) or groups.find(groups.group_of(name) or "")
    if group is None:
        st.info(f"{markdown_text(name)} is not in a group. What to do: choose one of all groups.")
        return
    _show_group(context, group, names.get(group.name, ""))


def _show_list(context: PageContext, groups: GroupList, names: Mapping[str, str]) -> None:
    if not groups.groups:
        st.info("No image is in a group. What to do: index more images with `imgret run`.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order = st.segmented_control(
            "Order", [BY_SIZE, BY_TIGHTNESS], default=BY_SIZE, required=True, key="order", bind="query-params"
        )
        min_size = st.number_input("Minimum size", min_value=2, value=2, key="size", bind="query-params", width=140)
        label = st.selectbox(
            "Folder",
            context.library.labels,
            index=None,
            placeholder="all",
            key="label",
            bind="query-params",
            filter_mode="contains",
            width=280,
        )
        named = names and st.toggle("Only named", key="named", bind="query-params")
    selected = groups.select(order=order, label=label, min_size=int(min_size), named=names if named else None)
    total = counted(len(groups.groups), "group")
    st.caption(f"{len(selected):,} of {total} · {counted(groups.ungrouped, 'image')} in no group")
    if not selected:
        st.info("No group matches. What to do: lower the minimum size or choose all folders.")
        return
    number = 1
    if len(selected) > GROUPS_PER_PAGE:
        number = st.pagination(-(-len(selected) // GROUPS_PER_PAGE), key="page", bind="query-params")
    page = selected[(number - 1) * GROUPS_PER_PAGE : number * GROUPS_PER_PAGE]
    tiles = _tiles(context, [group.name for group in page])
    with tile_grid("groups"):
        for group, tile in zip(page, tiles, strict=True):
            with st.container(border=True, gap="xsmall"):
                st.image(tile, width=TILE_PX, alt=group.name)
                if name := names.get(group.name):
                    st.markdown(f"**{markdown_text(name)}**")
                st.markdown(f"**{group.size:,} images** · lowest score {score_text(group.lowest_score)}")
                st.text(_folders(group))
                if st.button("Open", key=f"open-{group.name}", help=markdown_text(group.name)):
                    open_page(GROUPS, group=group.name)


def _folders(group: ImageGroup) -> str:
    """Return the folders of the members with their counts, the most frequent first."""
    named = [f"{label or '(root)'} {count:,}" for label, count in group.labels.most_common(_FOLDERS_NAMED)]
    more = len(group.labels) - _FOLDERS_NAMED
    return ", ".join(named) + (f" and {more:,} more" if more > 0 else "")


def _show_group(context: PageContext, group: ImageGroup, name: str) -> None:
    st.subheader(markdown_text(name) if name else f"{group.size:,} images", anchor=False)
    st.text(f"{group.size:,} images · representative {group.name} · {_folders(group)}")
    st.caption(f"lowest score with the representative {score_text(group.lowest_score)}")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        key = f"name-{group.name}-{name}"
        st.text_input(
            "Name of the group",
            value=name,
            max_chars=MAX_NAME,
            placeholder="none",
            key=key,
            on_change=_rename,
            args=(context, group, key),
            help="Kept with the decisions. It stays with these images when later runs add images or take some away.",
            width=420,
        )
        if st.button("Graph", icon=":material/hub:"):
            open_page(GRAPH, group=group.name)
    lowest = round(min(group.lowest_score, 0.999) - 0.001, 3)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        min_score = st.slider(
            "Split: members with a lower score leave",
            min_value=lowest,
            max_value=1.0,
            value=lowest,
            step=0.001,
            format="%.3f",
            key="split",
            help="Shown and exported only. To split all groups, set `least_score` of the asset image_groups.",
            width=420,
        )
        staying, leaving = group.split_at(min_score)
    _show_export(context, group, name, staying)
    number = 1
    if len(staying) > MEMBERS_PER_PAGE:
        number = st.pagination(-(-len(staying) // MEMBERS_PER_PAGE), key="members")
    page = staying[(number - 1) * MEMBERS_PER_PAGE : number * MEMBERS_PER_PAGE]
    _show_members(context, group, page)
    if leaving:
        st.subheader(f"{len(leaving):,} would leave", anchor=False)
        _show_members(context, group, leaving[:MEMBERS_PER_PAGE])
        if len(leaving) > MEMBERS_PER_PAGE:
            st.caption(f"and {len(leaving) - MEMBERS_PER_PAGE:,} more, in the exported list")


def _rename(context: PageContext, group: ImageGroup, key: str) -> None:
    paths = [member.path for member in group.members]
    try_or_show_error(lambda: name_group(context.home, st.session_state[key], paths))


def _show_export(context: PageContext, group: ImageGroup, name: str, members: list[GroupMember]) -> None:
    """Show the downloads of the members that stay, and the command for a folder of links."""
    root = context.home.images
    files = [root / member.path for member in members]
    with st.popover("Export", icon=":material/download:"):
        st.caption(f"{counted(len(members), 'image')}, those that stay")
        st.download_button(
            "List of files",
            data=lambda: list_of_files(files),
            file_name="imgret-group.txt",
            key="list",
            disabled=any("\n" in member.path for member in members),
            width="stretch",
        )
        st.download_button(
            "Album (one HTML file)",
            data=lambda: _as_album(context, name or group.name, members),
            file_name="imgret-group.html",
            mime="text/html",
            key="album",
            width="stretch",
        )
        st.download_button(
            "Scores as CSV",
            data=lambda: _as_csv(group, members),
            file_name="imgret-group.csv",
            mime="text/csv",
            key="csv",
            width="stretch",
        )
        st.caption("A folder of links to all images of the group:")
        command = ["imgret", "groups", group.name, "--as", "links", "--to", "FOLDER", "--home", str(context.home.path)]
        st.code(shlex.join(command), language="sh", wrap_lines=True)


def _as_album(context: PageContext, title: str, members: list[GroupMember]) -> bytes:
    files = [context.home.images / member.path for member in members]
    captions = [f"{member.path} · {score_text(member.score)}" for member in members]
    page = album(title, files, captions, lambda file: home_thumbnail(context.home, file, TILE_PX))
    return page.encode("utf-8", "xmlcharrefreplace")


def _show_members(context: PageContext, group: ImageGroup, members: list[GroupMember]) -> None:
    if not members:
        return
    last = group.members[-1].path
    tiles = _tiles(context, [member.path for member in members])
    with tile_grid(f"members-{members[0].path}"):
        for member, tile in zip(members, tiles, strict=True):
            with st.container(border=True, gap="xsmall"):
                st.image(tile, width=TILE_PX, alt=member.path)
                badges = [
                    *([":green-badge[representative]"] if member.path == group.name else []),
                    *([":orange-badge[lowest score]"] if member.path == last else []),
                ]
                st.markdown(" ".join([f"**{score_text(member.score)}**", *badges]))
                st.text(member.path)
                with st.container(horizontal=True, gap="xsmall"):
                    if st.button(
                        "Similar", key=f"similar-{member.path}", help="Search with this image", type="tertiary"
                    ):
                        open_page(SEARCH, image=member.path)
                    if member.path != group.name and st.button(
                        "Compare",
                        key=f"compare-{member.path}",
                        help="Show it beside the representative",
                        type="tertiary",
                    ):
                        open_page(COMPARE, a=group.name, b=member.path)
                    if st.button(
                        "Graph", key=f"graph-{member.path}", help="Show the images it is related to", type="tertiary"
                    ):
                        open_page(GRAPH, image=member.path)


def _tiles(context: PageContext, paths: list[str]) -> list[str]:
    return home_tiles(context.home, [image_file(context.home.images, path) for path in paths])


def _as_csv(group: ImageGroup, staying: list[GroupMember]) -> str:
    """Return the members with their scores as CSV, and whether each one stays."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["group", "path", "score", "stays"])
    stays = {member.path for member in staying}
    writer.writerows([group.name, member.path, member.score, member.path in stays] for member in group.members)
    return text.getvalue()
