"""The choice of a threshold: what each one gives, and pairs just above and below it.

Belongs here: the slider, the figures and the pairs. Not here: the figures themselves (`domain.analysis.calibration`),
which pairs are shown (`domain.analysis.threshold_samples`). Nothing here sets the threshold: the next run does.
"""

import shlex
from collections.abc import Sequence

import streamlit as st

from imgret_assets.app.components.image_tiles import tile_grid
from imgret_assets.app.components.live_slider import live_slider
from imgret_assets.app.components.thumbnails import home_tiles
from imgret_assets.app.navigation import COMPARE, open_page
from imgret_assets.app.page_frame import try_or_show_error
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.analysis.calibration import ThresholdReport, ThresholdRow
from imgret_assets.domain.analysis.threshold_samples import SamplePair, ThresholdSamples, load_threshold_samples
from imgret_assets.domain.images.files import image_file
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.wording import percent_text, score_text

PAIRS_SHOWN = 6
_PAIR_PX = 76


@st.fragment
def show_threshold_picker(home: Home, space: str, report: ThresholdReport, current: float | None) -> None:
    """Show a slider for the threshold and what it gives; only this part of the page is drawn while it is dragged.

    Args:
        home: the home.
        space: id of the graph's embedding space.
        report: its report.
        current: the graph's threshold.
    """
    st.subheader("Try a threshold", anchor=False)
    lowest, highest = report.rows[0].threshold, report.rows[-1].threshold
    start = current if current is not None else report.suggested or lowest
    st.caption("Two images are related if their score is greater. Nothing changes until the next run.")
    threshold = live_slider(
        "Threshold",
        min_value=lowest,
        max_value=highest,
        value=min(highest, max(lowest, round(start, 2))),
        step=0.01,
        digits=2,
        key="threshold",
    )
    row = report.at(threshold)
    if row is not None:
        _show_figures(report, row, report.at(current) if current is not None else None)
    # Shown for the graph's threshold, too, so that nothing moves while the slider is dragged.
    st.caption("Use this threshold:")
    command = ["imgret", "run", "--threshold", f"{threshold:g}", "--home", str(home.path)]
    st.code(shlex.join(command), language="sh", wrap_lines=True)
    samples = try_or_show_error(lambda: _samples(home, space))
    if samples is not None:
        _show_pairs(home, "Just above: related", "above", samples.above(threshold, PAIRS_SHOWN))
        _show_pairs(home, "Just below: not related", "below", samples.below(threshold, PAIRS_SHOWN))


def _show_figures(report: ThresholdReport, row: ThresholdRow, current: ThresholdRow | None) -> None:
    """Show what a threshold gives, and the difference to the graph's."""
    estimated = f" ± {row.pairs_error:,.0f}" if row.pairs_error >= 1 else ""
    with st.container(horizontal=True):
        for title, value, change in (
            ("Pairs", f"{row.pairs:,.0f}{estimated}", _change(row.pairs, current and current.pairs)),
            (
                f"Related images of {report.images:,}",
                f"{row.images:,}",
                _change(row.images, current and current.images),
            ),
        ):
            st.metric(title, value, change, delta_color="off", delta_arrow="off", border=True, width="content")
        if row.precision is not None:
            st.metric("Right by the labels", percent_text(row.precision), border=True, width="content")
        if row.recall is not None:
            st.metric("Of all right pairs", percent_text(row.recall), border=True, width="content")


def _change(count: float, current: float | None) -> str | None:
    """Return the difference to the graph's threshold in words; None if that is not known."""
    if current is None:
        return None
    difference = round(count) - round(current)
    if not difference:
        return "as now"
    return f"{abs(difference):,} {'more' if difference > 0 else 'fewer'} than now"


def _show_pairs(home: Home, title: str, key: str, pairs: Sequence[SamplePair]) -> None:
    st.markdown(f"**{title}**")
    if not pairs:
        st.caption("There is no such pair among nearest neighbours.")
        return
    tiles = home_tiles(home, [image_file(home.images, path) for pair in pairs for path in (pair.a, pair.b)])
    with tile_grid(f"threshold-{key}"):
        for number, pair in enumerate(pairs):
            with st.container(border=True, gap="xsmall"):
                st.image(tiles[2 * number : 2 * number + 2], width=_PAIR_PX, alt=[pair.a, pair.b])
                with st.container(horizontal=True, gap="small"):
                    st.markdown(f"**{score_text(pair.score, 4)}**", width="content")
                    if st.button(
                        "Compare", key=f"{key}-{number}", help=markdown_text(f"{pair.a} and {pair.b}"), type="tertiary"
                    ):
                        open_page(COMPARE, a=pair.a, b=pair.b)


def _samples(home: Home, space: str) -> ThresholdSamples:
    files = (tables.nearest_path(home.warehouse, space), tables.duplicates_path(home.warehouse))
    return _load_samples(tables.stamp_of(files), home, space)


@st.cache_resource(show_spinner=False, max_entries=2)
def _load_samples(stamp: tables.Stamp, _home: Home, _space: str) -> ThresholdSamples:
    del stamp
    return load_threshold_samples(_home, _space)
