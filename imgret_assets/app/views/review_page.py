"""The page Review: all decisions with who, when and why, their undo and export, and the files that are not needed.

Belongs here: the tables and buttons. Not here: the file of decisions (`domain.review.decision_log`), what follows from
it (`domain.review.removals`). Nothing here removes a file.
"""

import shlex
from dataclasses import asdict
from typing import Any

import streamlit as st

from imgret_assets.app.components.thumbnails import readable_bytes
from imgret_assets.app.data_access import database_holder
from imgret_assets.app.navigation import DUPLICATES, show_link
from imgret_assets.app.page_frame import PageContext, open_context, try_or_show_error
from imgret_assets.domain.graph import decided
from imgret_assets.domain.models.resolution import resolve_space
from imgret_assets.domain.review.decision_log import export_csv, export_json, read_history, undo
from imgret_assets.domain.review.decisions import (
    GROUP_NAME,
    IN_FORCE,
    SUPERSEDED,
    UNDO,
    UNDONE,
    VERDICTS,
    HistoryEntry,
)
from imgret_assets.domain.review.removals import list_removals
from imgret_assets.domain.storage.home import Home
from imgret_assets.wording import counted

_STATES = [IN_FORCE, UNDONE, SUPERSEDED]
_VERDICT_TEXT = {
    "not_duplicates": "no duplicates",
    "duplicate": "duplicate",
    GROUP_NAME: "name of a group",
    UNDO: "undo",
}


def show_review() -> None:
    """Draw the page."""
    context = open_context()
    if context is None or not context.library.paths:
        return
    entries = try_or_show_error(lambda: read_history(context.home))
    if entries is None:
        return
    if not entries:
        st.info("Nothing has been decided yet. What to do: decide about a set on the page Duplicates.")
        show_link(DUPLICATES, "Duplicates")
        return
    _show_history(context.home, entries)
    _show_export(context.home)
    _show_removals(context.home)
    _show_graph(context)


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
            [*VERDICTS, GROUP_NAME, UNDO],
            selection_mode="multi",
            format_func=lambda verdict: _VERDICT_TEXT[verdict],
            key="review-verdicts",
        )
        people = st.pills(
            "Decided by", sorted({entry.decision.by for entry in entries}), selection_mode="multi", key="review-people"
        )
    selected = [
        entry
        for entry in entries
        if (not states or entry.state in states)
        and (not verdicts or entry.decision.verdict in verdicts)
        and (not people or entry.decision.by in people)
    ]
    decisions = [asdict(entry.decision) for entry in selected]
    columns: dict[str, list[Any]] = {
        "when": [decision["at"] for decision in decisions],
        "by": [decision["by"] for decision in decisions],
        "verdict": [_VERDICT_TEXT.get(decision["verdict"], decision["verdict"]) for decision in decisions],
        "kept": [_kept(decision) for decision in decisions],
        "image A": [decision["path_a"] for decision in decisions],
        "image B": [decision["path_b"] for decision in decisions],
        "name": [decision["name"] for decision in decisions],
        "reason": [decision["reason"] for decision in decisions],
        "state": [entry.state.replace("_", " ") for entry in selected],
        "batch": [decision["batch"] for decision in decisions],
    }
    table = st.dataframe(
        # Most decisions have no reason and no name; their columns would only take room from the paths. Without a value
        # a cell is empty: the table would write None.
        {
            name: [value or "" for value in values]
            for name, values in columns.items()
            if any(values) or name not in ("name", "reason")
        },
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        # Rows are selected by their position: with another history the same positions would mean other decisions.
        key=f"review-rows-{len(entries)}",
        column_config={"when": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss")},
    )
    rows = [row for row in table["selection"]["rows"] if row < len(selected)]
    batches = sorted({selected[row].decision.batch for row in rows})
    count = sum(entry.decision.batch in batches for entry in entries)
    st.button(
        f"Undo ({counted(count, 'decision')})" if batches else "Undo",
        disabled=not batches,
        help="Select rows at the left. Decisions made at once are undone at once.",
        on_click=_undo,
        args=(home, batches),
    )


def _kept(decision: dict[str, str | None]) -> str | None:
    """Return which of the two images is kept, by the name of its column."""
    if not decision["keep"]:
        return "both" if decision["path_b"] else None
    return "A" if decision["keep_path"] == decision["path_a"] else "B"


def _undo(home: Home, batches: list[str]) -> None:
    for batch in batches:
        if try_or_show_error(lambda batch=batch: undo(home, batch)) is None:
            return


def _show_export(home: Home) -> None:
    with st.container(horizontal=True):
        for name, export, mime in (("csv", export_csv, "text/csv"), ("json", export_json, "application/json")):
            st.download_button(
                f"Export as {name.upper()}",
                data=lambda export=export: export(home),
                file_name=f"imgret-decisions.{name}",
                mime=mime,
                key=f"export-{name}",
            )


def _show_removals(home: Home) -> None:
    st.subheader("Files not needed", anchor=False)
    removals = try_or_show_error(lambda: list_removals(home))
    if removals is None:
        return
    if removals.changed:
        st.warning(
            f"{counted(len(removals.changed), 'file')} changed since the last run and left out. "
            "What to do: run `imgret run`."
        )
    if not removals.files:
        st.caption("None: no decision makes a file removable.")
        return
    st.markdown(
        f"**{counted(len(removals.files), 'file')}**, {readable_bytes(removals.bytes)}. This page moves no files. "
        "To move them to the system's trash, check the list, then run the first command; the second moves them to a "
        "folder, from which `imgret review restore` puts them back:"
    )
    home_option = f"--home {shlex.quote(str(home.path))}"
    st.code(
        f"imgret review --apply {home_option}\nimgret review --apply --to FOLDER {home_option}",
        # Some colours of a language have too little contrast, and a line that is cut off can't be scrolled by keys.
        language=None,
        wrap_lines=True,
    )
    st.dataframe(
        {
            "not needed": [removal.path for removal in removals.files],
            "kept": [removal.keep for removal in removals.files],
            "bytes": [removal.bytes for removal in removals.files],
            "decided by": [removal.decision.by for removal in removals.files],
        },
        hide_index=True,
        column_config={"bytes": st.column_config.NumberColumn(format="localized")},
    )
    paths = "".join(f"{removal.path}\n" for removal in removals.files)
    st.download_button("Export the list", data=paths, file_name="imgret-not-needed.txt", key="export-removals")


def _show_graph(context: PageContext) -> None:
    if context.facts is None:
        return
    home, space = context.home, context.facts.state.model
    st.caption("Every run refreshes the graph's DECIDED relationships. To refresh them now:")
    if st.button("Write decisions to the graph"):
        report = try_or_show_error(
            lambda: database_holder(home.settings).use(
                lambda database: decided.sync_relationships(home, database, resolve_space(home, space).space)
            )
        )
        if report is not None:
            st.success(report.summary)
