"""The page Groups: all groups, and one of them with its members.

Belongs here: cards and controls. Not here: which groups there are (`app.components.group_list`,
`domain.analysis.groups_table`).
"""

import csv
import io

import streamlit as st

from imgret_assets.app.components.group_list import (
    BY_SIZE,
    BY_TIGHTNESS,
    GroupList,
    GroupMember,
    ImageGroup,
    read_group_list,
)
from imgret_assets.app.components.thumbnails import TILE_PX, home_tiles, picture_file
from imgret_assets.app.navigation import COMPARE, GRAPH, GROUPS, SEARCH, open_page
from imgret_assets.app.page_frame import Shown, attempt, open_shown
from imgret_assets.app.plain_text import counted, markdown_text

GROUPS_A_PAGE = 20
MEMBERS_A_PAGE = 48
_CARD_PX = TILE_PX + 34
_FOLDERS_NAMED = 3


def show_groups() -> None:
    """Draw the page as the address (`group`, or the list's controls) says."""
    shown = open_shown()
    if shown is None or shown.facts is None:
        return
    space = shown.facts.state.model
    found = attempt(lambda: read_group_list(shown.home, space))
    if found is None:
        return
    name = st.query_params.get("group")
    if name is None:
        _show_list(shown, found)
        return
    if st.button("All groups", icon=":material/arrow_back:"):
        open_page(GROUPS)
    group = found.named(name) or found.named(found.of(name) or "")
    if group is None:
        st.info(f"{markdown_text(name)} is in no group of two images or more. What to do: choose one of all groups.")
        return
    _show_group(shown, group, threshold=shown.facts.state.threshold or 1.0)


def _show_list(shown: Shown, found: GroupList) -> None:
    if not found.groups:
        st.info("No image is in a group: every one is alone. What to do: index more pictures with `imgret run`.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order = st.segmented_control(
            "Order", [BY_SIZE, BY_TIGHTNESS], default=BY_SIZE, required=True, key="order", bind="query-params"
        )
        least = st.number_input("Least size", min_value=2, value=2, key="size", bind="query-params", width=140)
        label = st.selectbox(
            "Folder",
            shown.library.labels,
            index=None,
            placeholder="all",
            key="label",
            bind="query-params",
            filter_mode="contains",
            width=280,
        )
    groups = found.listed(order=order, label=label, least_size=int(least))
    st.caption(f"{len(groups):,} of {len(found.groups):,} groups · {counted(found.alone, 'image')} alone")
    if not groups:
        st.info("No group is like that. What to do: ask for smaller ones, or all folders.")
        return
    number = 1
    if len(groups) > GROUPS_A_PAGE:
        number = st.pagination(-(-len(groups) // GROUPS_A_PAGE), key="page", bind="query-params")
    page = groups[(number - 1) * GROUPS_A_PAGE : number * GROUPS_A_PAGE]
    pictures = _pictures(shown, [group.name for group in page])
    with st.container(horizontal=True, gap="small"):
        for group, picture in zip(page, pictures, strict=True):
            with st.container(border=True, width=_CARD_PX, gap="xsmall"):
                st.image(picture, width=TILE_PX, alt=group.name)
                st.markdown(f"**{group.size:,} images** · weakest {group.weakest:.3f}")
                st.text(_folders(group))
                if st.button("Open", key=f"open-{group.name}", help=group.name):
                    open_page(GROUPS, group=group.name)


def _folders(group: ImageGroup) -> str:
    """The folders its members lie in, the most frequent first."""
    named = [f"{label or '(root)'} {count:,}" for label, count in group.labels.most_common(_FOLDERS_NAMED)]
    more = len(group.labels) - _FOLDERS_NAMED
    return ", ".join(named) + (f" and {more:,} more" if more > 0 else "")


def _show_group(shown: Shown, group: ImageGroup, *, threshold: float) -> None:
    chained = {member.path for member in group.chained(threshold)}
    st.subheader(f"{group.size:,} images", anchor=False)
    st.text(f"represented by {group.name} · {_folders(group)}")
    about = f"weakest score {group.weakest:.3f}"
    if chained:
        about += (
            f" · {len(chained):,} {'is' if len(chained) == 1 else 'are'} *chained*: other members brought them in, for "
            f"their score with the representative is not above the graph's threshold, {threshold:g}"
        )
    st.caption(about)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if st.button("Graph", icon=":material/hub:"):
            open_page(GRAPH, group=group.name)
        least = st.slider(
            "Split here: members with a lower score leave",
            min_value=round(min(group.weakest, 0.999) - 0.001, 3),
            max_value=1.0,
            value=round(min(group.weakest, 0.999) - 0.001, 3),
            step=0.001,
            format="%.3f",
            key="split",
            help="Only shown, and exported; the asset image_groups has least_score for all groups.",
            width=420,
        )
        staying, leaving = group.split_at(least)
        st.download_button(
            "Export as CSV", data=_as_csv(group, staying), file_name="imgret-group.csv", mime="text/csv", key="csv"
        )
    number = 1
    if len(staying) > MEMBERS_A_PAGE:
        number = st.pagination(-(-len(staying) // MEMBERS_A_PAGE), key="members")
    page = staying[(number - 1) * MEMBERS_A_PAGE : number * MEMBERS_A_PAGE]
    _show_members(shown, group, page, chained)
    if leaving:
        st.subheader(f"{len(leaving):,} would leave", anchor=False)
        _show_members(shown, group, leaving[:MEMBERS_A_PAGE], chained)
        if len(leaving) > MEMBERS_A_PAGE:
            st.caption(f"and {len(leaving) - MEMBERS_A_PAGE:,} more, in the exported list")


def _show_members(shown: Shown, group: ImageGroup, members: list[GroupMember], chained: set[str]) -> None:
    weakest = group.members[-1].path
    pictures = _pictures(shown, [member.path for member in members])
    with st.container(horizontal=True, gap="small"):
        for member, picture in zip(members, pictures, strict=True):
            with st.container(border=True, width=_CARD_PX, gap="xsmall"):
                st.image(picture, width=TILE_PX, alt=member.path)
                badges = [
                    *([":green-badge[representative]"] if member.path == group.name else []),
                    *([":orange-badge[weakest]"] if member.path == weakest else []),
                    *([":gray-badge[chained]"] if member.path in chained else []),
                ]
                st.markdown(" ".join([f"**{member.score:.3f}**", *badges]))
                st.text(member.path)
                with st.container(horizontal=True, gap="xsmall"):
                    if st.button("Similar", key=f"similar-{member.path}"):
                        open_page(SEARCH, image=member.path)
                    if member.path != group.name and st.button("Compare", key=f"compare-{member.path}"):
                        open_page(COMPARE, a=group.name, b=member.path)
                    if st.button("Graph", key=f"graph-{member.path}"):
                        open_page(GRAPH, image=member.path)


def _pictures(shown: Shown, paths: list[str]) -> list[str]:
    return home_tiles(shown.home, [picture_file(shown.home.images, path) for path in paths])


def _as_csv(group: ImageGroup, staying: list[GroupMember]) -> str:
    """The members with their scores, and whether each stays."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["group", "path", "score", "stays"])
    stays = {member.path for member in staying}
    writer.writerows([group.name, member.path, member.score, member.path in stays] for member in group.members)
    return text.getvalue()
