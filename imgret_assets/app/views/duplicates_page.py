"""The page Duplicates: exact copies, near copies and look-alikes, to be decided about one by one or all at once.

Belongs here: the cards of sets and their buttons. Not here: what is left to decide and what is proposed
(`domain.review.queue`), writing decisions (`app.components.decision_buttons`). Nothing here removes a file.
"""

import streamlit as st

from imgret_assets.app.components.decision_buttons import decide, give_turn, in_turn, show_last, show_person
from imgret_assets.app.components.thumbnails import TILE_PX, home_tiles, picture_file, readable_bytes
from imgret_assets.app.navigation import COMPARE, REVIEW, SEARCH, open_page, show_link
from imgret_assets.app.page_frame import Shown, attempt, open_shown
from imgret_assets.app.plain_text import counted, markdown_text
from imgret_assets.domain.duplicates.duplicate_search import EXACT, NEAR
from imgret_assets.domain.review.queue import ReviewQueue, read_review_queue
from imgret_assets.domain.review.review_sets import KINDS, SIMILAR, Member, ReviewSet

SETS_A_PAGE = 10
# Of a larger set so many files are shown as pictures; all of them are decided about.
_SHOWN_MEMBERS = 24
_LISTED = 1000
_CARD_PX = TILE_PX + 34
_KIND_TEXT = {EXACT: "exact", NEAR: "near", SIMILAR: "merely similar"}
_KIND_HELP = {
    EXACT: "The same bytes, under several names. First those that take most room.",
    NEAR: "One picture, saved again, made smaller, cropped a little or made brighter. First those most alike.",
    SIMILAR: "Two pictures that look alike (a score above the graph's threshold), and are no copies.",
}
_SKIPPED = "duplicates-skipped"


def show_duplicates() -> None:
    """Draw the page as the address (`kind`, `page`) says."""
    shown = open_shown()
    if shown is None or not shown.library.paths:
        return
    left = attempt(lambda: read_review_queue(shown.home))
    if left is None:
        return
    with st.sidebar:
        show_person()
        if shown.home.settings.protected:
            folders = ", ".join(markdown_text(folder) for folder in shown.home.settings.protected)
            st.caption(f"Protected, never proposed for removal: {folders}")
        show_link(REVIEW, "Review decisions")
    for note in left.notes:
        st.caption(markdown_text(note))
    counts = left.counts
    # The names alone, not their counts, are the choices: they stand in the address.
    kind = st.segmented_control(
        "Kind",
        list(KINDS),
        default=next((kind for kind in KINDS if counts[kind]), EXACT),
        required=True,
        key="kind",
        bind="query-params",
        label_visibility="collapsed",
    )
    there = " · ".join(f"{_KIND_TEXT[name]}: {count:,}" for name, count in counts.items())
    st.caption(f"Left to decide: {there}. {_KIND_HELP[kind]}")
    show_last(shown.home)
    if not counts[kind]:
        st.info(f"Nothing is left to decide here. {_where_else(counts)}")
        return
    if kind != SIMILAR:
        _show_bulk(shown, left, kind)
    _show_sets(shown, left, kind)


def _where_else(counts: dict[str, int]) -> str:
    others = [f"{counts[kind]:,} under {_KIND_TEXT[kind]}" for kind in KINDS if counts[kind]]
    return f"There are {' and '.join(others)}." if others else "New copies show up here after the next `imgret run`."


def _show_sets(shown: Shown, left: ReviewQueue, kind: str) -> None:
    total = left.counts[kind]
    number = 1
    if total > SETS_A_PAGE:
        number = st.pagination(-(-total // SETS_A_PAGE), key="page", bind="query-params")
    page = left.page(kind, number, SETS_A_PAGE)
    skipped: set[str] = st.session_state.setdefault(_SKIPPED, set())
    there = [one for one in page.sets if one.keep.path not in skipped]
    if len(there) < len(page.sets):
        st.button(f"Show {len(page.sets) - len(there):,} skipped again", on_click=skipped.clear)
    if there:
        give_turn(_key(there[0]))
    for place, one in enumerate(there):
        _show_set(shown, one, first=place == 0)


def _key(one: ReviewSet) -> str:
    return f"{one.kind}-{one.keep.path}-{one.other_members[0].path}"


def _show_set(shown: Shown, one: ReviewSet, *, first: bool) -> None:
    key = _key(one)
    with st.container(border=True):
        st.markdown(_headline(one))
        visible = one.members[:_SHOWN_MEMBERS]
        chosen = _show_members(shown, one, visible, key)
        hidden = len(one.members) - len(visible)
        if hidden:
            st.caption(f"and {hidden:,} more, which are decided about as well")
        _show_buttons(shown, one, chosen, key, first=first)


def _headline(one: ReviewSet) -> str:
    parts = [f"**{len(one.members):,} files**"]
    if one.proposed_bytes:
        parts.append(f"{readable_bytes(one.proposed_bytes)} could go")
    if one.weakest_cosine is not None and one.kind != EXACT:
        parts.append(f"weakest score {one.weakest_cosine:.3f}")
    parts.append(f"keep the first: {markdown_text(one.reason)}")
    return " · ".join(parts)


def _show_members(shown: Shown, one: ReviewSet, members: tuple[Member, ...], key: str) -> list[str]:
    """Draw the pictures; paths of those whose box to be kept is ticked."""
    home = shown.home
    files = [picture_file(home.images, member.path) for member in members]
    tiles = home_tiles(home, files)
    kept = []
    with st.container(horizontal=True, gap="small"):
        for member, tile in zip(members, tiles, strict=True):
            with st.container(border=True, width=_CARD_PX, gap="xsmall"):
                st.image(tile, width=TILE_PX, alt=member.path)
                st.markdown(_badges(member, is_kept=member is one.keep))
                st.text(member.path)
                st.caption(
                    f"{member.width:,} × {member.height:,} px · {readable_bytes(member.bytes)}{_measures(member)}"
                )
                if st.checkbox("keep", value=not member.proposed, key=f"keep-{key}-{member.path}"):
                    kept.append(member.path)
                with st.container(horizontal=True, gap="xsmall"):
                    if member is not one.keep and st.button("Compare", key=f"compare-{key}-{member.path}"):
                        open_page(COMPARE, a=one.keep.path, b=member.path)
                    if st.button("Similar", key=f"similar-{key}-{member.path}"):
                        open_page(SEARCH, image=member.path)
    return kept + [member.path for member in one.members[len(members) :] if not member.proposed]


def _badges(member: Member, *, is_kept: bool) -> str:
    badges = []
    if is_kept:
        badges.append(":green-badge[keep]")
    elif member.proposed:
        badges.append(":orange-badge[not needed]")
    if member.kind is not None:
        badges.append(f":gray-badge[{member.kind}]")
    if member.protected:
        badges.append(":blue-badge[protected]")
    if member.kept:
        badges.append(":violet-badge[kept before]")
    if member.removal is not None:
        badges.append(":orange-badge[decided: not needed]")
    return " ".join(badges)


def _measures(member: Member) -> str:
    parts = []
    if member.cosine is not None and member.kind != EXACT:
        parts.append(f"score {member.cosine:.3f}")
    if member.distance:
        parts.append(f"{member.distance} of 256 bits differ")
    return "".join(f" · {part}" for part in parts)


def _show_buttons(shown: Shown, one: ReviewSet, chosen: list[str], key: str, *, first: bool) -> None:
    # Keys for the first set alone: the next one moves up when it is decided, and its buttons are others then.
    shortcut = {"suggested": "k", "all": "a", "skip": "s"} if first else {}
    turn, place = (key, "first-") if first else (None, "")
    home, name = shown.home, one.keep.path
    skipped: set[str] = st.session_state[_SKIPPED]
    proposed = sum(member.proposed for member in one.members)
    with st.container(horizontal=True, gap="small"):
        if proposed:
            st.button(
                f"Keep the suggested, {proposed:,} not needed",
                key=f"suggested-{place}{key}",
                type="primary",
                shortcut=shortcut.get("suggested"),
                on_click=in_turn,
                args=(turn, lambda: decide(home, one.decide_proposal(), f"{name} is kept, {proposed:,} not needed")),
            )
        st.button(
            "Keep all, no duplicates",
            key=f"all-{place}{key}",
            shortcut=shortcut.get("all"),
            on_click=in_turn,
            args=(turn, lambda: decide(home, one.decide_keep_all(), f"{name} and its likes are no duplicates")),
        )
        st.button(
            "Keep the ticked",
            key=f"chosen-{key}",
            disabled=not chosen,
            help="Of the files that are ticked all are kept; the others are not needed.",
            on_click=lambda: decide(home, one.decide_keep(chosen), f"{len(chosen):,} of {name}'s set kept"),
        )
        st.button(
            "Skip",
            key=f"skip-{place}{key}",
            shortcut=shortcut.get("skip"),
            help="Decide later: it comes back when the page is opened again.",
            on_click=in_turn,
            args=(turn, lambda: skipped.add(name)),
        )


def _show_bulk(shown: Shown, left: ReviewQueue, kind: str) -> None:
    """All suggestions of a kind in one table, to be accepted at once."""
    with st.expander(f"Overview of all suggestions ({counted(left.counts[kind], 'set')}), and accepting them at once"):
        if not st.toggle("Show the overview", key=f"overview-{kind}"):
            return
        sets = [one for one in left.sets(kind) if any(member.proposed for member in one.members)]
        not_needed = [(one, member) for one in sets for member in one.members if member.proposed]
        freed = sum(one.proposed_bytes for one in sets)
        st.markdown(
            f"**{counted(len(not_needed), 'file')}** in **{counted(len(sets), 'set')}** would be marked as not needed, "
            f"{readable_bytes(freed)} together. Nothing is removed by this page."
        )
        st.dataframe(
            {
                "not needed": [member.path for _, member in not_needed[:_LISTED]],
                "kept": [one.keep.path for one, _ in not_needed[:_LISTED]],
                "why": [one.reason for one, _ in not_needed[:_LISTED]],
                "bytes": [member.bytes for _, member in not_needed[:_LISTED]],
                "score": [member.cosine for _, member in not_needed[:_LISTED]],
            },
            hide_index=True,
        )
        if len(not_needed) > _LISTED:
            st.caption(f"and {len(not_needed) - _LISTED:,} more")
        st.button(
            f"Accept {counted(len(sets), 'suggestion')}",
            key=f"accept-{kind}",
            type="primary",
            disabled=not sets,
            on_click=lambda: decide(
                shown.home,
                [judgement for one in sets for judgement in one.decide_proposal()],
                f"{counted(len(sets), 'suggestion')} accepted, {counted(len(not_needed), 'file')} not needed",
            ),
        )
