"""The page Overview: what the home holds, how current it is, what scores mean in it, which files are unusable.

Belongs here: the order of sections and their states. Not here: reading the tables (`domain.operations.overview`,
`domain.embeddings.embedding_spaces`), Dagster's runs (`defs.instance.last_runs`).
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import streamlit as st

from imgret_assets.app.components.threshold_picker import show_threshold_picker
from imgret_assets.app.components.thumbnails import readable_bytes
from imgret_assets.app.page_frame import open_context, try_or_show_error
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.analysis import threshold_report
from imgret_assets.domain.analysis.calibration import ThresholdReport
from imgret_assets.domain.analysis.threshold_report import read_threshold_report
from imgret_assets.domain.embeddings.embedding_spaces import known_models
from imgret_assets.domain.operations.backlog import CURRENT, DAMAGED, MISSING, OLDER
from imgret_assets.domain.operations.overview import Overview, read_overview
from imgret_assets.domain.storage.home import Home
from imgret_assets.wording import counted, score_text

if TYPE_CHECKING:
    from imgret_assets.defs.instance.last_runs import LastRun

_STATE_TEXT = {
    CURRENT: "current",
    OLDER: "behind",
    MISSING: "missing",
    DAMAGED: "damaged",
}
_NEXT_STEP = "What to do: run `imgret run`, or materialize it in Dagster (`make dev`)."
# Why a file is unusable, by status.
_REASONS = {
    "empty": "empty file",
    "truncated": "end of the file is missing",
    "damaged": "content of the file is wrong",
    "not_an_image": "not an image, despite its name",
    "unsupported": "unsupported image format",
    "too_large": "more pixels than IMGRET_MAX_PIXELS",
    "unreadable": "file can't be opened",
    "vanished": "deleted while it was read",
    "outside_root": "link to a file outside the image root",
    "loop": "link to itself",
    "bad_name": "name is not valid text",
}


def show_overview() -> None:
    """Draw the page."""
    context = open_context()
    if context is None or not context.library.paths:
        return
    # What is behind is shown of the tables as they are now.
    home = context.home.live
    space = context.facts.state.model if context.facts else None
    overview = try_or_show_error(lambda: read_overview(home, space))
    if overview is None:
        return
    _show_size(overview, len(context.library.labels))
    left, right = st.columns(2, gap="large")
    with left:
        _show_tables(overview)
        _show_runs(home)
    with right:
        _show_unusable(overview)
        _show_spaces(home)
    if space is not None:
        _show_scores(home, space, context.facts.state.threshold if context.facts else None)


def _show_size(overview: Overview, labels: int) -> None:
    unusable = sum(reason.count for reason in overview.unusable)
    with st.container(horizontal=True):
        st.metric("Files", f"{overview.files:,}", border=True, width="content")
        st.metric("Folders", f"{labels:,}", border=True, width="content")
        st.metric("Size", readable_bytes(overview.bytes), border=True, width="content")
        st.metric("Unusable", f"{unusable:,}", border=True, width="content")


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
    for sentence in overview.caveats:
        st.info(markdown_text(sentence))
    if overview.backlog.behind:
        st.warning(f"{markdown_text(overview.backlog.summary)} {_NEXT_STEP}")


@st.fragment
def _show_runs(home: Home) -> None:
    # Not at module level: importing Dagster takes over a second, and no other page needs it.
    from imgret_assets.defs.instance.last_runs import last_runs

    st.subheader("Last runs", anchor=False)
    with st.spinner("Reading Dagster's runs …"):
        runs = last_runs(home.settings)
    if not runs:
        st.caption("Dagster has no run of this home yet. What to do: run `imgret run`.")
        return
    st.dataframe(
        {
            "job": [run.job for run in runs],
            "status": [run.status.lower().replace("_", " ") for run in runs],
            "started": [run.started_at for run in runs],
            "duration": [_duration(run) for run in runs],
        },
        hide_index=True,
        column_config={"started": st.column_config.DatetimeColumn(format="distance")},
    )


def _duration(run: "LastRun") -> str:
    if run.started_at is None:
        return ""
    seconds = ((run.ended_at or datetime.now(UTC)) - run.started_at).total_seconds()
    return f"{seconds:,.0f} s" + ("" if run.ended_at else " so far")


def _show_unusable(overview: Overview) -> None:
    st.subheader("Unusable files", anchor=False)
    if not overview.unusable:
        st.caption("None: every image of the library is in the embeddings table.")
    if overview.raw_of_images:
        st.caption(
            f"{counted(overview.raw_of_images, 'camera raw file')} beside a JPEG of the same shot: one image each."
        )
    for reason in overview.unusable:
        text = _REASONS.get(reason.status, reason.status)
        with st.expander(f"{reason.count:,} × {text}"):
            for path, error in reason.examples:
                st.text(f"{path}\n    {error}" if error else path)
            hidden = reason.count - len(reason.examples)
            if hidden:
                st.caption(f"and {hidden:,} more, in the manifest and embeddings tables (status {reason.status})")


def _show_spaces(home: Home) -> None:
    st.subheader("Embedding spaces", anchor=False)
    models = [model for model in known_models(home) if model.tables is not None]
    st.dataframe(
        {
            "model": [model.name for model in models],
            "space": [model.space for model in models],
            "dimensions": [model.dim for model in models],
            "images": [model.tables.rows if model.tables else 0 for model in models],
            "in the graph": [model.in_graph for model in models],
        },
        hide_index=True,
    )


def _show_scores(home: Home, space: str, threshold: float | None) -> None:
    st.subheader("What scores mean in this library", anchor=False)
    report = try_or_show_error(lambda: read_threshold_report(home, space))
    if report is None:
        st.caption(f"There is no similarity report yet. {_NEXT_STEP}")
        return
    st.markdown(markdown_text(report.summary))
    _show_measures(report)
    plot = threshold_report.plot_path(home.warehouse, space)
    if plot.is_file():
        # On white in dark mode, too: the plot is made to be printed and sent.
        st.image(
            plot.read_bytes(), alt="Scores of random pairs and of nearest neighbours, and the effect of each threshold"
        )
    show_threshold_picker(home, space, report, threshold)
    with st.expander("All thresholds"):
        st.dataframe([vars(row) for row in report.rows], hide_index=True)


def _show_measures(report: ThresholdReport) -> None:
    if report.precision_1 is None:
        st.caption("There are no labels (folders) to measure with.")
        return
    with st.container(horizontal=True):
        st.metric("Precision of 1 hit (P@1)", score_text(report.precision_1), border=True, width="content")
        if report.precision_10 is not None:
            st.metric("Precision of 10 hits (P@10)", score_text(report.precision_10), border=True, width="content")
        if report.mean_average_precision is not None:
            st.metric(
                "Mean average precision (mAP)", score_text(report.mean_average_precision), border=True, width="content"
            )
        if report.gain is not None:
            gain = report.gain.average_reranked - report.gain.average
            effect = "better here" if report.gain.helps else "no better here"
            st.metric(
                f"mAP of mode rerank: {effect}",
                score_text(report.gain.average_reranked),
                f"{gain:+.3f}",
                border=True,
                width="content",
            )
