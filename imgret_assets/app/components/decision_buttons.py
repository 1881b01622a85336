"""Recording decisions from the page, and undoing the last one.

Belongs here: who decides, the message about the last decision, which set the keys act on. Not here: the file of
decisions (`domain.review.decision_log`), the sets that are decided about (`app.views.duplicates_page`).
"""

from collections.abc import Callable, Sequence

import streamlit as st

from imgret_assets.app.page_frame import try_or_show_error
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.review.decision_log import decider_name, record, undo
from imgret_assets.domain.review.decisions import SetDecision
from imgret_assets.domain.storage.home import Home

# Session state: who decides and why, the last batch with its summary, the set that the keys act on.
_BY, _REASON, _LAST, _ACTIVE_SET = "decided-by", "decided-reason", "decided-last", "decided-turn"


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
    """Record decisions as one batch; for a widget's callback. `summary` describes them in words."""
    state = st.session_state
    batch = try_or_show_error(lambda: record(home, decisions, by=state.get(_BY), reason=state.get(_REASON, "")))
    if batch is not None:
        state[_LAST] = (batch, summary)


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


def show_last_decision(home: Home) -> None:
    """Show what was decided last, with a button to undo it."""
    last = st.session_state.get(_LAST)
    if last is None:
        return
    batch, summary = last
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":green-badge[decided] {markdown_text(summary)}")
        st.button("Undo", key="undo-last", shortcut="u", on_click=_undo_last, args=(home, batch))


def _undo_last(home: Home, batch: str) -> None:
    # Another set may come first now.
    st.session_state[_ACTIVE_SET] = None
    if try_or_show_error(lambda: undo(home, batch, by=st.session_state.get(_BY))) is not None:
        st.session_state.pop(_LAST, None)
