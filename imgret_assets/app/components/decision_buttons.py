"""Recording decisions from the page, and undoing those of the session, the last one first.

Belongs here: who decides, the message about the last decision, which set the keys act on. Not here: the file of
decisions (`domain.review.decision_log`), the sets that are decided about (`app.views.duplicates_page`,
`app.components.triage`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from imgret_assets.app.components.thumbnails import readable_bytes
from imgret_assets.app.page_frame import try_or_show_error
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.review.decision_log import decider_name, read_decisions, record, undo
from imgret_assets.domain.review.decisions import SetDecision
from imgret_assets.domain.review.queue import ReviewQueue
from imgret_assets.domain.storage.home import Home
from imgret_assets.wording import counted

# Session state: who decides and why, the decisions of this session, the sets to decide about later, the set that the
# keys act on.
_BY, _REASON, _DECIDED, _SKIPPED, _ACTIVE_SET = (
    "decided-by",
    "decided-reason",
    "decided",
    "decided-skipped",
    "decided-turn",
)


@dataclass(frozen=True)
class Decided:
    """Decisions that were recorded together.

    Attributes:
        batch: their batch.
        summary: what was decided, in words.
        kind: kind of the set that was decided about in a triage; None if it was not in one.
        number: place of that set among those of its kind, from 1.
    """

    batch: str
    summary: str
    kind: str | None = None
    number: int = 1


def show_decider() -> None:
    """Show the fields for who decides and why, which are part of every decision."""
    st.text_input(
        "Decided by",
        value=decider_name(),
        key=_BY,
        help="Recorded with every decision; if empty, the user of the operating system.",
    )
    st.text_input("Reason (optional)", key=_REASON, placeholder="such as: sorting the 2019 shoot")


def record_decisions(home: Home, decisions: Sequence[SetDecision], summary: str) -> None:
    """Record decisions as one batch, or show why they can't be recorded; for a widget's callback."""
    try_or_show_error(lambda: record_in_session(home, decisions, summary))


def record_in_session(
    home: Home, decisions: Sequence[SetDecision], summary: str, *, kind: str | None = None, number: int = 1
) -> None:
    """Record decisions as one batch that this session can undo.

    Args:
        home: the home.
        decisions: what is decided.
        summary: the decisions in words.
        kind: of the set, if it is in a triage, see `Decided`.
        number: its place, see `Decided`.

    Raises:
        ImgretError: they can't be recorded.
    """
    state = st.session_state
    batch = record(home, decisions, by=state.get(_BY), reason=state.get(_REASON, ""))
    state.setdefault(_DECIDED, []).append(Decided(batch, summary, kind, number))


def session_decisions(home: Home) -> list[Decided]:
    """Return what was decided in this session and is not undone, the last decision last.

    Raises:
        HomeError: the decisions can't be parsed.
    """
    decisions = read_decisions(home)
    return [decided for decided in st.session_state.get(_DECIDED, []) if not decisions.is_undone(decided.batch)]


def undo_last(home: Home) -> Decided | None:
    """Undo the last decision of this session and return it; None if there is none.

    Raises:
        ImgretError: the undo can't be recorded.
    """
    decided = session_decisions(home)
    if not decided:
        return None
    # Another set may come first now.
    st.session_state[_ACTIVE_SET] = None
    undo(home, decided[-1].batch, by=st.session_state.get(_BY))
    return decided[-1]


def skipped_sets() -> set[str]:
    """Return the keys (`set_texts.set_key`) of the sets that were skipped in this session, to be added to."""
    return st.session_state.setdefault(_SKIPPED, set())


def freed_text(home: Home, queue: ReviewQueue) -> str:
    """Return how many files, and how many bytes, the decisions of this session make superfluous; empty if none.

    Raises:
        HomeError: the decisions can't be parsed.
    """
    files, size = queue.freed_by({decided.batch for decided in session_decisions(home)})
    return f"{counted(files, 'file')} not needed, {readable_bytes(size)}" if files else ""


def activate_set(name: str) -> None:
    """Let the keys act on the set of this name; to be called before the set is drawn.

    While Streamlit redraws the page, old elements stand beside new ones, so a key can press the buttons of two sets.
    """
    st.session_state[_ACTIVE_SET] = name


def act_if_active(name: str | None, act: Callable[[], object]) -> None:
    """Act for a button of this set if the set is active and nothing was decided since; for a widget's callback.

    None, of a button without a key, always acts.
    """
    if name is not None:
        if st.session_state.get(_ACTIVE_SET) != name:
            return
        st.session_state[_ACTIVE_SET] = None
    act()


def show_last_decision(home: Home, queue: ReviewQueue) -> None:
    """Show what was decided last, with a button to undo it, and what this session's decisions free."""
    decided = try_or_show_error(lambda: session_decisions(home))
    if not decided:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":green-badge[decided] {markdown_text(decided[-1].summary)}")
        st.button("Undo", key="undo-last", shortcut="u", on_click=_undo_or_show_error, args=(home,))
        if freed := freed_text(home, queue):
            st.markdown(f":orange-badge[this session] {freed}")


def _undo_or_show_error(home: Home) -> None:
    try_or_show_error(lambda: undo_last(home))
