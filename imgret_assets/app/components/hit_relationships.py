"""The relationships of a query's hits, as a chart and a table.

Belongs here: the chart component and the table on the page Search. Not here: which nodes and edges there are
(`app.graph_chart.hit_graph`), the chart's options (`app.graph_chart.echarts_options`).
"""

from collections.abc import Callable

import streamlit as st

from imgret_assets.app.components.thumbnails import framed_symbol
from imgret_assets.app.graph_chart.echarts_options import (
    FRAMES,
    LABEL_CODE,
    TOOLTIP_CODE,
    canvas_height_px,
    echarts_options,
    line_legend,
    node_positions,
    symbol_px,
)
from imgret_assets.app.graph_chart.graph_view import HIT, QUERY, RELATED, GraphNode, GraphView
from imgret_assets.app.graph_chart.hit_graph import hit_graph, hit_relationships
from imgret_assets.domain.search.query import Answer
from imgret_assets.wording import score_text

_FRAME_PX = {QUERY: 6, HIT: 4, RELATED: 3}


def show_relationships(answer: Answer, thumbnail: Callable[[GraphNode], bytes], *, threshold: float | None) -> None:
    """Draw the hits and all images that they are related to.

    Args:
        answer: with relations.
        thumbnail: returns a node's image as JPEG of at most `TILE_PX` pixels a side.
        threshold: score above which images are related.
    """
    # Imported where Streamlit runs: anywhere else the component can't register itself.
    from streamlit_echarts import JsCode, st_echarts

    st.subheader("Relationships", anchor=False)
    relationships = hit_relationships(answer.results)
    view = hit_graph(answer.results, answer.query_paths, query_name=answer.query)
    _show_legend(view)
    if not relationships:
        above = "" if threshold is None else f" ({threshold:g})"
        st.info(
            f"No hit has a relationship. Images are related if their score is above the graph's threshold{above}. "
            "Dotted lines are scores to the query."
        )
    count = len(view.nodes)
    symbols = [
        framed_symbol(
            thumbnail(node),
            symbol_px(node.kind, count),
            FRAMES[node.kind],
            frame_px=_FRAME_PX[node.kind],
        )
        for node in view.nodes
    ]
    st_echarts(
        echarts_options(
            view,
            symbols,
            node_positions(view, symbols),
            label_formatter=JsCode(LABEL_CODE),
            tooltip_formatter=JsCode(TOOLTIP_CODE),
        ),
        height=f"{canvas_height_px(count)}px",
        key="relations",
    )
    if relationships:
        with st.expander(f"Table of relationships ({len(relationships):,})"):
            st.dataframe(
                {
                    "score": [score_text(edge.score, 6) for edge in relationships],
                    "from": [edge.source for edge in relationships],
                    "to": [edge.target for edge in relationships],
                },
                hide_index=True,
                column_config={
                    "score": st.column_config.TextColumn(width="small"),
                    "from": st.column_config.TextColumn(width="large"),
                    "to": st.column_config.TextColumn(width="large"),
                },
            )


def _show_legend(view: GraphView) -> None:
    hidden = f" **{view.hidden_text}.**" if view.hidden_text else ""
    lines = line_legend("score to the query")
    st.caption(
        f":orange[■] query · :blue[■] hit · :gray[■] related to a hit · {lines}. "
        f"Drag to move, scroll to zoom, point at an image or a line for details.{hidden}"
    )
