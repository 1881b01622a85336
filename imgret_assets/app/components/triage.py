"""Triage: the sets of one kind one after the other at full screen, decided by keys.

Belongs here: which set is shown, what its keys do. Not here: the full screen in the browser
(`app.components.triage_dialog`), texts about sets (`app.components.set_texts`), recording decisions and the counter of
the session (`app.components.decision_buttons`). Nothing here removes a file.
"""

from collections.abc import Callable
from typing import Any

import streamlit as st

from imgret_assets.app.components.decision_buttons import (
    freed_text,
    record_in_session,
    session_decisions,
    skipped_sets,
    undo_last,
)
from imgret_assets.app.components.image_route import preview_address
from imgret_assets.app.components.set_texts import (
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
from imgret_assets.app.components.triage_dialog import triage_dialog
from imgret_assets.app.page_frame import try_or_show_error
from imgret_assets.domain.review.queue import ReviewQueue, read_review_queue
from imgret_assets.domain.review.review_sets import ReviewSet
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DecisionError, ImgretError

# The address's name of an open triage.
_OPEN = "triage"
# Of a larger set so many files are shown; all of them are decided about.
_SHOWN_FILES = 24
# Session state: the place of the set that is shown among those of its kind, from 1; why the last key did nothing; how
# many keys were pressed.
_NUMBER, _PROBLEM, _PRESSED = "triage-number", "triage-problem", "triage-pressed"


def triage_is_open() -> bool:
    """Return whether the address says so."""
    return _OPEN in st.query_params


def show_triage_button() -> None:
    """Show the button that opens the triage."""
    st.button(
        "Triage",
        icon=":material/fullscreen:",
        key="triage-open",
        shortcut="t",
        on_click=_open,
        help="One set after the other at full screen: two images in turn at one place, their difference, all by keys",
    )


def _open() -> None:
    st.query_params[_OPEN] = "on"
    st.session_state[_NUMBER] = 1


@st.fragment
def show_triage(home: Home, kind: str) -> None:
    """Show the sets of a kind at full screen; a key draws only this part of the page."""
    if not triage_is_open():
        st.rerun()
    state = st.session_state
    data = try_or_show_error(lambda: _describe(home, kind, state.get(_NUMBER, 1)))
    if data is None:
        del st.query_params[_OPEN]
        return
    data |= {"pressed": state.get(_PRESSED, 0), "problem": state.pop(_PROBLEM, None)}
    # The page below has nothing to be read or reached.
    st.html("<style>[data-testid=stApp] * { visibility: hidden !important; }</style>")
    triage_dialog(data, key="triage", on_key=lambda pressed: _act(home, kind, pressed))


def _describe(home: Home, kind: str, number: int) -> dict[str, Any]:
    """Return what the full screen shows of the set at a place, or that none is left."""
    queue = read_review_queue(home)
    total = queue.all_counts[kind]
    decided = session_decisions(home)
    data: dict[str, Any] = {
        "kind": kind_name(kind),
        "freed": freed_text(home, queue),
        "decided": decided[-1].summary if decided else "",
        "set": None,
        "left": what_is_left(queue),
    }
    number = max(1, min(number, total))
    number = _not_skipped(queue, kind, number, 1) or _not_skipped(queue, kind, number, -1) or 0
    if not number:
        data["skipped"] = total
        return data
    st.session_state[_NUMBER] = number
    following = _not_skipped(queue, kind, number + 1, 1)
    data["set"] = _describe_set(home, _set_at(queue, kind, number), f"{number:,} of {total:,}") | {
        "hasPrevious": _not_skipped(queue, kind, number - 1, -1) is not None,
        "hasNext": following is not None,
    }
    if following is not None:
        data["soon"] = [file["address"] for file in _describe_files(home, _set_at(queue, kind, following))[:2]]
    return data


def _set_at(queue: ReviewQueue, kind: str, number: int) -> ReviewSet:
    return queue.any_page(kind, number, size=1).sets[0]


def _not_skipped(queue: ReviewQueue, kind: str, number: int, step: int) -> int | None:
    """Return the first place from `number` on whose set is not skipped; None if there is none."""
    total, skipped = queue.all_counts[kind], skipped_sets()
    while 1 <= number <= total:
        if set_key(_set_at(queue, kind, number)) not in skipped:
            return number
        number += step
    return None


def _describe_set(home: Home, review_set: ReviewSet, place: str) -> dict[str, Any]:
    hidden = len(review_set.members) - _SHOWN_FILES
    return {
        "key": set_key(review_set),
        "place": place,
        "facts": " · ".join([*set_facts(review_set), set_reason(review_set)]),
        "files": _describe_files(home, review_set),
        "hidden": f"and {hidden:,} more, which are decided about as well" if hidden > 0 else "",
        "proposed": sum(member.proposed for member in review_set.members),
    }


def _describe_files(home: Home, review_set: ReviewSet) -> list[dict[str, Any]]:
    return [
        {
            "path": member.path,
            "address": preview_address(home, member.path),
            "width": member.width,
            "height": member.height,
            "facts": file_facts(member),
            "badges": [text for _, text in file_badges(review_set, member)],
        }
        for member in review_set.members[:_SHOWN_FILES]
    ]


def _act(home: Home, kind: str, pressed: dict[str, Any]) -> None:
    """Do what a key says; if that can't be done, the full screen shows why."""
    state = st.session_state
    state[_PRESSED] = state.get(_PRESSED, 0) + 1
    action, key = pressed.get("action"), pressed.get("set")
    if action == "close":
        del st.query_params[_OPEN]
        return
    try:
        if action == "undo":
            _undo(home, kind)
        else:
            _act_on_set(home, kind, str(action), str(key), str(pressed.get("path")))
    except ImgretError as error:
        state[_PROBLEM] = str(error)


def _undo(home: Home, kind: str) -> None:
    """Undo the last decision and show its set again."""
    decided = undo_last(home)
    if decided is not None and decided.kind == kind:
        st.session_state[_NUMBER] = decided.number


def _act_on_set(home: Home, kind: str, action: str, key: str, path: str) -> None:
    state = st.session_state
    queue, number = read_review_queue(home), state.get(_NUMBER, 1)
    if not 1 <= number <= queue.all_counts[kind] or set_key(_set_at(queue, kind, number)) != key:
        raise DecisionError("The set has changed since it was shown", remedy="look at it again, then decide")
    if action in ("next", "previous"):
        step = 1 if action == "next" else -1
        state[_NUMBER] = _not_skipped(queue, kind, number + step, step) or number
        return
    if action == "skip":
        skipped_sets().add(key)
        return
    review_set = _set_at(queue, kind, number)
    answers: dict[str, tuple[Callable[[], Any], str]] = {
        "accept": (review_set.decide_proposal, describe_proposal(review_set)),
        "all": (review_set.decide_keep_all, describe_keep_all(review_set)),
        "only": (lambda: review_set.decide_keep([path]), describe_selection(review_set, 1)),
    }
    if action not in answers or (action == "accept" and not any(member.proposed for member in review_set.members)):
        return
    decide, summary = answers[action]
    record_in_session(home, decide(), summary, kind=kind, number=number)
