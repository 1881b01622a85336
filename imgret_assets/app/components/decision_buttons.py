"""Writing decisions down from the page, and taking the last one back.

Belongs here: who decides, the note of what was just decided. Not here: the file of decisions
(`domain.review.decisions`), the sets they are about (`app.views.duplicates_page`).
"""

from collections.abc import Callable, Sequence

import streamlit as st

from imgret_assets.app.page_frame import attempt
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.review.decision_log import decider_name, record, undo
from imgret_assets.domain.review.decisions import SetDecision
from imgret_assets.domain.storage.home import Home

_BY, _REASON, _LAST, _TURN = "decided-by", "decided-reason", "decided-last", "decided-turn"


def show_person() -> None:
    """Ask once who decides, and why; both are part of every decision."""
    st.text_input(
        "Decided by", value=decider_name(), key=_BY, help="Stands with every decision; the system's user if empty."
    )
    st.text_input("Reason (optional)", key=_REASON, placeholder="such as: sorting the 2019 shoot")


def decide(home: Home, judgements: Sequence[SetDecision], said: str) -> None:
    """Write down what was decided at once; meant as a widget's callback. `said` tells it in words."""
    state = st.session_state
    batch = attempt(lambda: record(home, judgements, by=state.get(_BY), reason=state.get(_REASON, "")))
    if batch is not None:
        state[_LAST] = (batch, said)


def give_turn(name: str) -> None:
    """The set of this name answers the keys from now on; called before it is drawn.

    While Streamlit redraws the page, what goes stands beside what comes, so a key can press the buttons of two sets.
    """
    st.session_state[_TURN] = name


def in_turn(name: str | None, act: Callable[[], object]) -> None:
    """Act for a button of this set if the set has the turn, and nothing was decided since; meant as a callback.

    None, of a button without a key, always acts.
    """
    if name is not None:
        if st.session_state.get(_TURN) != name:
            return
        st.session_state[_TURN] = None
    act()


def show_last(home: Home) -> None:
    """What was decided last, with the way back."""
    last = st.session_state.get(_LAST)
    if last is None:
        return
    batch, said = last
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":green-badge[decided] {markdown_text(said)}")
        st.button("Undo", key="undo-last", shortcut="u", on_click=_take_back, args=(home, batch))


def _take_back(home: Home, batch: str) -> None:
    # Another set may come first now.
    st.session_state[_TURN] = None
    if attempt(lambda: undo(home, batch, by=st.session_state.get(_BY))) is not None:
        st.session_state.pop(_LAST, None)
