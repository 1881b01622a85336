"""The page Review: every decision with who, when and why, its undo, its export, and what would be removed.

Belongs here: the tables and buttons. Not here: the file of decisions (`domain.review.decisions`), what follows from it
(`domain.review.queue`). Nothing here removes a file.
"""

from dataclasses import asdict

import streamlit as st

from imgret_assets.app.components.thumbnails import readable_bytes
from imgret_assets.app.data_access import database_holder
from imgret_assets.app.navigation import DUPLICATES, show_link
from imgret_assets.app.page_frame import Shown, attempt, open_shown
from imgret_assets.app.plain_text import counted
from imgret_assets.domain.graph import decided
from imgret_assets.domain.models.resolution import resolve_space
from imgret_assets.domain.review.decision_log import export_csv, export_json, read_history, undo
from imgret_assets.domain.review.decisions import IN_FORCE, SUPERSEDED, UNDO, UNDONE, VERDICTS, HistoryEntry
from imgret_assets.domain.review.removals import list_removals
from imgret_assets.domain.storage.home import Home

_STATES = [IN_FORCE, UNDONE, SUPERSEDED]
_VERDICT_TEXT = {"not_duplicates": "no duplicates", "duplicate": "duplicate", UNDO: "undo"}


def show_review() -> None:
    """Draw the page."""
    shown = open_shown()
    if shown is None or not shown.library.paths:
        return
    entries = attempt(lambda: read_history(shown.home))
    if entries is None:
        return
    if not entries:
        st.info("Nothing has been decided yet. What to do: decide about a set on the page Duplicates.")
        show_link(DUPLICATES, "Duplicates")
        return
    _show_history(shown.home, entries)
    _show_export(shown.home)
    _show_removals(shown.home)
    _show_graph(shown)


def _show_history(home: Home, entries: list[HistoryEntry]) -> None:
    st.subheader("Decisions", anchor=False)
    with st.container(horizontal=True):
        states = st.pills(
            "State",
            _STATES,
            selection_mode="multi",
            default=[IN_FORCE],
            format_func=lambda state: state.replace("_", " "),
            key="review-states",
        )
        verdicts = st.pills(
            "Verdict",
            [*VERDICTS, UNDO],
            selection_mode="multi",
            format_func=lambda verdict: _VERDICT_TEXT[verdict],
            key="review-verdicts",
        )
        people = st.pills(
            "By", sorted({entry.decision.by for entry in entries}), selection_mode="multi", key="review-people"
        )
    rows = [
        entry
        for entry in entries
        if (not states or entry.state in states)
        and (not verdicts or entry.decision.verdict in verdicts)
        and (not people or entry.decision.by in people)
    ]
    decided = [asdict(entry.decision) for entry in rows]
    picked = st.dataframe(
        {
            "when": [one["at"] for one in decided],
            "by": [one["by"] for one in decided],
            "verdict": [_VERDICT_TEXT.get(one["verdict"], one["verdict"]) for one in decided],
            "kept": [_kept(one) for one in decided],
            "one": [one["path_a"] for one in decided],
            "other": [one["path_b"] for one in decided],
            "reason": [one["reason"] for one in decided],
            "state": [entry.state.replace("_", " ") for entry in rows],
            "batch": [one["batch"] for one in decided],
        },
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key="review-rows",
        column_config={"when": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss")},
    )
    batches = sorted({rows[number].decision.batch for number in picked["selection"]["rows"] if number < len(rows)})
    together = sum(entry.decision.batch in batches for entry in entries)
    st.button(
        f"Undo ({counted(together, 'decision')})" if batches else "Undo",
        disabled=not batches,
        help="Tick rows at the left. What was decided at once is undone at once.",
        on_click=_undo,
        args=(home, batches),
    )


def _kept(one: dict[str, str | None]) -> str | None:
    return one["keep_path"] if one["keep"] else "both" if one["path_a"] else None


def _undo(home: Home, batches: list[str]) -> None:
    for batch in batches:
        if attempt(lambda batch=batch: undo(home, batch)) is None:
            return


def _show_export(home: Home) -> None:
    with st.container(horizontal=True):
        for name, make, mime in (("csv", export_csv, "text/csv"), ("json", export_json, "application/json")):
            st.download_button(
                f"Export as {name.upper()}",
                data=lambda make=make: make(home),
                file_name=f"imgret-decisions.{name}",
                mime=mime,
                key=f"export-{name}",
            )


def _show_removals(home: Home) -> None:
    st.subheader("What would be removed", anchor=False)
    found = attempt(lambda: list_removals(home))
    if found is None:
        return
    if found.changed:
        st.warning(
            f"{counted(len(found.changed), 'file')} changed since the last run: left out here. Run `imgret run`."
        )
    if not found.files:
        st.caption("Nothing: no file was decided to be a duplicate that is not needed.")
        return
    st.markdown(
        f"**{counted(len(found.files), 'file')}**, {readable_bytes(found.bytes)}. imgret removes nothing itself; "
        "to do so, after looking at the list:"
    )
    st.code("imgret review --dry-run --format paths -0 | (cd IMAGES && xargs -0 rm --)", language="sh")
    st.dataframe(
        {
            "not needed": [one.path for one in found.files],
            "kept instead": [one.keep for one in found.files],
            "bytes": [one.bytes for one in found.files],
            "decided by": [one.decision.by for one in found.files],
        },
        hide_index=True,
    )
    paths = "".join(f"{one.path}\n" for one in found.files)
    st.download_button("Export the list", data=paths, file_name="imgret-not-needed.txt", key="export-removals")


def _show_graph(shown: Shown) -> None:
    if shown.facts is None:
        return
    space = shown.facts.state.model
    st.caption("The graph's DECIDED relationships are brought up to date by every run, or now:")
    if st.button("Write decisions to the graph"):
        holder, home = database_holder(shown.home.settings), shown.home
        report = attempt(
            lambda: holder.use(
                lambda database: decided.sync_relationships(home, database, resolve_space(home, space).space)
            )
        )
        if report is not None:
            st.success(report.summary)
