"""The page Overview: what there is, how fresh it is, what scores mean here, what could not be used.

Belongs here: the order of things and their states. Not here: looking (`domain.operations.overview`,
`domain.embeddings.embedding_spaces`), Dagster's runs (`defs.instance.last_runs`).
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import streamlit as st

from imgret_assets.app.components.thumbnails import readable_bytes
from imgret_assets.app.page_frame import attempt, open_shown
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.analysis import threshold_report
from imgret_assets.domain.analysis.calibration import ThresholdReport
from imgret_assets.domain.analysis.threshold_report import read_threshold_report
from imgret_assets.domain.embeddings.embedding_spaces import known_models
from imgret_assets.domain.operations.overview import CURRENT, DAMAGED, MISSING, OLDER, Overview, look_over
from imgret_assets.domain.storage.home import Home

if TYPE_CHECKING:
    from imgret_assets.defs.instance.last_runs import LastRun

_STATE_TEXT = {
    CURRENT: "up to date",
    OLDER: "older than the embeddings",
    MISSING: "not there yet",
    DAMAGED: "can't be read",
}
_NEXT_STEP = "What to do: run `imgret run`, or materialise them in Dagster (`make dev`)."
# Why a file could not be used, for people.
_REASONS = {
    "empty": "no bytes in it",
    "truncated": "the end is missing",
    "not_an_image": "not a picture, whatever its name says",
    "unsupported": "a kind of picture that can't be read",
    "too_large": "more pixels than IMGRET_MAX_PIXELS",
    "unreadable": "the file can't be opened",
    "vanished": "gone while it was read",
    "outside_root": "a link that leads out of the image root",
    "loop": "a link that leads to itself",
    "bad_name": "a name that is not valid text",
}


def show_overview() -> None:
    """Draw the page."""
    shown = open_shown()
    if shown is None or not shown.library.paths:
        return
    home = shown.home
    space = shown.facts.state.model if shown.facts else None
    overview = attempt(lambda: look_over(home, space))
    if overview is None:
        return
    _show_size(overview, len(shown.library.labels))
    left, right = st.columns(2, gap="large")
    with left:
        _show_tables(overview)
        _show_runs(home)
    with right:
        _show_unusable(overview)
        _show_spaces(home)
    if space is not None:
        _show_scores(home, space)


def _show_size(overview: Overview, labels: int) -> None:
    unusable = sum(reason.count for reason in overview.unusable)
    with st.container(horizontal=True):
        st.metric("Files", f"{overview.files:,}", border=True, width="content")
        st.metric("Folders", f"{labels:,}", border=True, width="content")
        st.metric("On the disk", readable_bytes(overview.bytes), border=True, width="content")
        st.metric("Not usable", f"{unusable:,}", border=True, width="content")


def _show_tables(overview: Overview) -> None:
    st.subheader("Tables", anchor=False)
    st.dataframe(
        {
            "asset": [table.asset for table in overview.tables],
            "state": [_STATE_TEXT[table.state] for table in overview.tables],
            "rows": [table.rows for table in overview.tables],
            "written": [table.written for table in overview.tables],
        },
        hide_index=True,
        column_config={
            "rows": st.column_config.NumberColumn(format="localized"),
            "written": st.column_config.DatetimeColumn(format="distance"),
        },
    )
    behind = [table.asset for table in overview.tables if table.state != CURRENT]
    if behind:
        st.warning(f"{_listed(behind)} {'is' if len(behind) == 1 else 'are'} not up to date. {_NEXT_STEP}")


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


@st.fragment
def _show_runs(home: Home) -> None:
    # Not at the top: Dagster takes over a second, and no other page needs it.
    from imgret_assets.defs.instance.last_runs import last_runs

    st.subheader("Last runs", anchor=False)
    with st.spinner("Asking Dagster …"):
        runs = last_runs(home.settings)
    if not runs:
        st.caption("Dagster has no run of this home yet. `imgret run` makes one.")
        return
    st.dataframe(
        {
            "job": [run.job for run in runs],
            "status": [run.status.lower().replace("_", " ") for run in runs],
            "began": [run.started_at for run in runs],
            "took": [_took(run) for run in runs],
        },
        hide_index=True,
        column_config={"began": st.column_config.DatetimeColumn(format="distance")},
    )


def _took(run: "LastRun") -> str:
    if run.started_at is None:
        return ""
    seconds = ((run.ended_at or datetime.now(UTC)) - run.started_at).total_seconds()
    return f"{seconds:,.0f} s" + ("" if run.ended_at else " so far")


def _show_unusable(overview: Overview) -> None:
    st.subheader("Files that could not be used", anchor=False)
    if not overview.unusable:
        st.caption("None: every file of the library is in the table of embeddings.")
    for reason in overview.unusable:
        why = _REASONS.get(reason.status, reason.status)
        with st.expander(f"{reason.count:,} × {why}"):
            for path, error in reason.examples:
                st.text(f"{path}\n    {error}" if error else path)
            hidden = reason.count - len(reason.examples)
            if hidden:
                st.caption(f"and {hidden:,} more, in the manifest and embeddings tables (status {reason.status})")


def _show_spaces(home: Home) -> None:
    st.subheader("Embedding spaces", anchor=False)
    there = [model for model in known_models(home) if model.tables is not None]
    st.dataframe(
        {
            "model": [model.name for model in there],
            "space": [model.space for model in there],
            "dimensions": [model.dim for model in there],
            "images": [model.tables.rows if model.tables else 0 for model in there],
            "in the graph": [model.in_graph for model in there],
        },
        hide_index=True,
    )


def _show_scores(home: Home, space: str) -> None:
    st.subheader("What a score means here", anchor=False)
    report = attempt(lambda: read_threshold_report(home, space))
    if report is None:
        st.caption(f"There is no similarity report yet. {_NEXT_STEP}")
        return
    st.markdown(markdown_text(report.summary))
    _show_measures(report)
    picture = threshold_report.plot_path(home.warehouse, space)
    if picture.is_file():
        # On white in the dark, too: a drawing made to be printed and sent.
        st.image(
            picture.read_bytes(), alt="Cosines of random pairs and of nearest neighbours, and what thresholds give"
        )
    with st.expander("Every threshold"):
        st.dataframe([vars(row) for row in report.rows], hide_index=True)


def _show_measures(report: ThresholdReport) -> None:
    if report.precision_1 is None:
        st.caption("There are no labels (folders) to measure against.")
        return
    with st.container(horizontal=True):
        st.metric("First hit is right (P@1)", f"{report.precision_1:.3f}", border=True, width="content")
        if report.precision_10 is not None:
            st.metric("First ten (P@10)", f"{report.precision_10:.3f}", border=True, width="content")
        if report.mean_average_precision is not None:
            st.metric("Mean average precision", f"{report.mean_average_precision:.3f}", border=True, width="content")
        if report.gain is not None:
            gain = report.gain.average_reranked - report.gain.average
            helps = "helps here" if report.gain.helps else "does not help here"
            st.metric(
                f"Mode rerank {helps}",
                f"{report.gain.average_reranked:.3f}",
                f"{gain:+.3f} mAP",
                border=True,
                width="content",
            )
