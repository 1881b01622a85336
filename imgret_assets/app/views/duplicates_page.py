"""The page Duplicates: exact duplicates, near-duplicates and other pairs, to decide about one by one or all at once.

Belongs here: the cards of sets and their buttons. Not here: what is left to decide and what is proposed
(`domain.review.queue`), recording decisions (`app.components.decision_buttons`). Nothing here removes a file.
"""

import streamlit as st

from imgret_assets.app.components.decision_buttons import (
    act_if_active,
    activate_set,
    record_decisions,
    show_decider,
    show_last_decision,
    skipped_sets,
)
from imgret_assets.app.components.image_tiles import CARD_PX
from imgret_assets.app.components.page_keys import DECIDE_KEY
from imgret_assets.app.components.set_texts import (
    KIND_HELP,
    describe_keep_all,
    describe_proposal,
    describe_selection,
    file_badges,
    file_facts,
    kind_name,
    set_facts,
    set_key,
    set_reason,
    what_is_left,
)
from imgret_assets.app.components.thumbnails import TILE_PX, home_tiles, readable_bytes
from imgret_assets.app.components.triage import show_triage, show_triage_button, triage_is_open
from imgret_assets.app.navigation import COMPARE, REVIEW, SEARCH, open_page, show_link
from imgret_assets.app.page_frame import PageContext, open_context, try_or_show_error
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.duplicates.duplicate_search import EXACT, LOOK_KINDS, MIRRORED, NEAR, ROTATED
from imgret_assets.domain.images.files import image_file
from imgret_assets.domain.review.queue import ReviewQueue, read_review_queue
from imgret_assets.domain.review.review_sets import Member, ReviewSet
from imgret_assets.wording import counted, score_text

SETS_PER_PAGE = 10
# Of a larger set so many files are shown; all of them are decided about.
_SHOWN_MEMBERS = 24
_LISTED = 1000
# Kinds of which files are proposed for removal; of the others, people alone decide.
_PROPOSED_KINDS = (EXACT, NEAR)
# Kinds that are shown only where there are such pairs: they are searched only by a setting.
_OPTIONAL_KINDS = (MIRRORED, ROTATED)


def show_duplicates() -> None:
    """Draw the page that the address (`kind`, `page`, `triage`) describes."""
    context = open_context()
    if context is None or not context.library.paths:
        return
    queue = try_or_show_error(lambda: read_review_queue(context.home))
    if queue is None:
        return
    with st.sidebar:
        show_decider()
        if context.home.settings.protected:
            folders = ", ".join(markdown_text(folder) for folder in context.home.settings.protected)
            st.caption(f"Protected folders, never proposed for removal: {folders}")
        show_link(REVIEW, "Review decisions")
    for note in queue.notes:
        st.caption(markdown_text(note))
    counts = queue.all_counts
    requested = st.query_params.get("kind")
    kinds = [kind for kind in KIND_HELP if counts[kind] or kind not in _OPTIONAL_KINDS or kind == requested]
    # The options are the names without counts: they are part of the address.
    kind = st.segmented_control(
        "Kind",
        kinds,
        default=next((kind for kind in kinds if counts[kind]), EXACT),
        format_func=kind_name,
        required=True,
        key="kind",
        bind="query-params",
        label_visibility="collapsed",
    )
    left = " · ".join(f"{kind_name(name)} {counts[name]:,}" for name in kinds)
    st.caption(f"Left to decide: {left}. {KIND_HELP[kind]}")
    if triage_is_open():
        show_triage(context.home, kind)
        return
    show_last_decision(context.home, queue)
    if not counts[kind]:
        st.info(f"Nothing is left to decide here. {what_is_left(queue)}")
        return
    show_triage_button()
    if kind in _PROPOSED_KINDS:
        _show_all_proposals(context, queue, kind)
    _show_sets(context, queue, kind, counts[kind])


def _show_sets(context: PageContext, queue: ReviewQueue, kind: str, total: int) -> None:
    number = 1
    if total > SETS_PER_PAGE:
        number = st.pagination(-(-total // SETS_PER_PAGE), key="page", bind="query-params")
    page = queue.any_page(kind, number, SETS_PER_PAGE)
    skipped = skipped_sets()
    shown = [review_set for review_set in page.sets if set_key(review_set) not in skipped]
    if len(shown) < len(page.sets):
        st.button(f"Show {len(page.sets) - len(shown):,} skipped", on_click=skipped.clear)
    if shown:
        activate_set(set_key(shown[0]))
    for place, review_set in enumerate(shown):
        _show_set(context, review_set, first=place == 0)


def _show_set(context: PageContext, review_set: ReviewSet, *, first: bool) -> None:
    key = set_key(review_set)
    with st.container(border=True):
        st.markdown(_headline(review_set))
        visible = review_set.members[:_SHOWN_MEMBERS]
        # Above the images, so that they are in view and few presses of Tab away; filled when the choice is known.
        # The container's styles keep it in view as long as the set is (`app.components.page_keys`).
        buttons = st.container(key=f"{DECIDE_KEY}{key}", horizontal=True, gap="small")
        chosen = _show_members(context, review_set, visible, key)
        hidden = len(review_set.members) - len(visible)
        if hidden:
            st.caption(f"and {hidden:,} more, which are decided about as well")
        with buttons:
            _show_buttons(context, review_set, chosen, key, first=first)


def _headline(review_set: ReviewSet) -> str:
    files, *others = set_facts(review_set)
    kind = f":orange-badge[{kind_name(review_set.kind)}] " if review_set.kind in LOOK_KINDS else ""
    return " · ".join([f"**{files}**", *others, kind + markdown_text(set_reason(review_set))])


def _show_members(context: PageContext, review_set: ReviewSet, members: tuple[Member, ...], key: str) -> list[str]:
    """Draw the images; return the paths of those that are selected to be kept."""
    home = context.home
    files = [image_file(home.images, member.path) for member in members]
    tiles = home_tiles(home, files)
    kept = []
    with st.container(horizontal=True, gap="small"):
        for member, tile in zip(members, tiles, strict=True):
            with st.container(border=True, width=CARD_PX, gap="xsmall"):
                st.image(tile, width=TILE_PX, alt=member.path)
                # Of two images to look at, no box is ticked.
                is_look_first = review_set.kind in LOOK_KINDS
                badges = file_badges(review_set, member)
                st.markdown(" ".join(f":{colour}-badge[{text}]" for colour, text in badges))
                st.text(member.path)
                st.caption(file_facts(member))
                if st.checkbox(
                    "keep", value=not member.proposed and not is_look_first, key=f"keep-{key}-{member.path}"
                ):
                    kept.append(member.path)
                with st.container(horizontal=True, gap="xsmall"):
                    if member is not review_set.keep and st.button(
                        "Compare", key=f"compare-{key}-{member.path}", help="Show it beside the first image"
                    ):
                        open_page(COMPARE, a=review_set.keep.path, b=member.path)
                    if st.button("Similar", key=f"similar-{key}-{member.path}", help="Search with this image"):
                        open_page(SEARCH, image=member.path)
    return kept + [member.path for member in review_set.members[len(members) :] if not member.proposed]


def _show_buttons(context: PageContext, review_set: ReviewSet, chosen: list[str], key: str, *, first: bool) -> None:
    # Only the first set has keys: after a decision the next set is first, with buttons of its own.
    shortcuts = {"suggested": "k", "all": "a", "skip": "s"} if first else {}
    active_name, prefix = (key, "first-") if first else (None, "")
    home, skipped = context.home, skipped_sets()
    proposed = sum(member.proposed for member in review_set.members)
    if proposed:
        st.button(
            f"Accept proposal ({proposed:,} not needed)",
            key=f"suggested-{prefix}{key}",
            type="primary",
            shortcut=shortcuts.get("suggested"),
            on_click=act_if_active,
            args=(
                active_name,
                lambda: record_decisions(home, review_set.decide_proposal(), describe_proposal(review_set)),
            ),
        )
    st.button(
        "Keep all (no duplicates)",
        key=f"all-{prefix}{key}",
        shortcut=shortcuts.get("all"),
        on_click=act_if_active,
        args=(
            active_name,
            lambda: record_decisions(home, review_set.decide_keep_all(), describe_keep_all(review_set)),
        ),
    )
    st.button(
        "Keep selected",
        key=f"chosen-{key}",
        disabled=not chosen,
        help="Files with a tick are kept, the others are not needed",
        on_click=lambda: record_decisions(
            home, review_set.decide_keep(chosen), describe_selection(review_set, len(chosen))
        ),
    )
    st.button(
        "Skip",
        key=f"skip-{prefix}{key}",
        shortcut=shortcuts.get("skip"),
        help="Decide later: the set comes back when the page is opened again",
        on_click=act_if_active,
        args=(active_name, lambda: skipped.add(key)),
    )


def _score(member: Member) -> str:
    return "" if member.cosine is None else score_text(member.cosine, 4)


def _show_all_proposals(context: PageContext, queue: ReviewQueue, kind: str) -> None:
    """Show all proposals of a kind in one table, to be accepted at once."""
    with st.expander(f"All proposals ({counted(queue.counts[kind], 'set')})"):
        if not st.toggle("Show the table", key=f"overview-{kind}"):
            return
        sets = [review_set for review_set in queue.sets(kind) if any(member.proposed for member in review_set.members)]
        not_needed = [(review_set, member) for review_set in sets for member in review_set.members if member.proposed]
        total_bytes = sum(review_set.proposed_bytes for review_set in sets)
        st.markdown(
            f"**{counted(len(not_needed), 'file')}** in **{counted(len(sets), 'set')}** would be marked as not needed, "
            f"{readable_bytes(total_bytes)} in total. This page removes no file."
        )
        st.dataframe(
            {
                "not needed": [member.path for _, member in not_needed[:_LISTED]],
                "kept": [review_set.keep.path for review_set, _ in not_needed[:_LISTED]],
                "reason": [review_set.reason for review_set, _ in not_needed[:_LISTED]],
                "bytes": [member.freed_bytes for _, member in not_needed[:_LISTED]],
                "score": [_score(member) for _, member in not_needed[:_LISTED]],
            },
            hide_index=True,
        )
        if len(not_needed) > _LISTED:
            st.caption(f"and {len(not_needed) - _LISTED:,} more")
        st.button(
            f"Accept {counted(len(sets), 'proposal')}",
            key=f"accept-{kind}",
            type="primary",
            disabled=not sets,
            on_click=lambda: record_decisions(
                context.home,
                [decision for review_set in sets for decision in review_set.decide_proposal()],
                f"{counted(len(sets), 'proposal')} accepted, {counted(len(not_needed), 'file')} not needed",
            ),
        )
