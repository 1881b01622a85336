"""How the hits are related, drawn: the graph and the table.

Belongs here: the chart component and the table. Not here: which nodes and links there are
(`app.graph_chart.echarts_options`).
"""

from collections.abc import Callable
from functools import lru_cache

import streamlit as st

from imgret_assets.app.components.thumbnails import framed_uri
from imgret_assets.app.graph_chart.echarts_options import (
    FRAMES,
    HIT,
    QUERY,
    RELATED,
    GraphNode,
    GraphView,
    canvas_height,
    echarts_options,
    relation_graph,
    relations_of,
)
from imgret_assets.domain.search.query import Answer

# Of few sizes, so that kept thumbnails serve all charts; larger than drawn, for those who zoom.
_MADE_PX = (64, 128)
_FRAME_PX = {QUERY: 6, HIT: 4, RELATED: 3}
# Text nodes, never markup: a file may be called like a tag.
TOOLTIP_CODE = """function (point) {
  const box = document.createElement('div');
  box.style.maxWidth = '420px'; box.style.whiteSpace = 'normal'; box.style.overflowWrap = 'anywhere';
  (point.data.lines || []).forEach(function (line) {
    const row = document.createElement('div'); row.textContent = line; box.appendChild(row);
  });
  return box;
}"""
LABEL_CODE = "function (point) { return point.data.name; }"


def show_relations(answer: Answer, thumbnail: Callable[[GraphNode, int], bytes], *, threshold: float | None) -> None:
    """Draw the hits with everything they are related to.

    Args:
        answer: the answer, with relations.
        thumbnail: a node's picture as JPEG of at most so many pixels a side.
        threshold: cosine above which pictures are related.
    """
    # Imported where Streamlit runs: anywhere else the component can't register itself.
    from streamlit_echarts import JsCode, st_echarts

    st.subheader("Relations", anchor=False)
    relations = relations_of(answer.results)
    view = relation_graph(answer.results, answer.query_paths)
    _show_legend(view)
    if not relations:
        above = "" if threshold is None else f" ({threshold:g})"
        st.info(
            f"No hit is joined to another picture: a relation is a score above the graph's threshold{above}. "
            "The dotted lines are scores to the query."
        )
    st_echarts(
        echarts_options(
            view,
            lambda node, size: framed_symbol(
                lambda px: thumbnail(node, px), size, FRAMES[node.kind], frame_px=_FRAME_PX[node.kind]
            ),
            query_name=answer.query,
            label_formatter=JsCode(LABEL_CODE),
            tooltip_formatter=JsCode(TOOLTIP_CODE),
        ),
        height=f"{canvas_height(len(view.nodes))}px",
        key="relations",
    )
    if relations:
        with st.expander(f"Table of relations ({len(relations):,})"):
            st.dataframe(
                {
                    "score": [relation.score for relation in relations],
                    "from": [relation.source for relation in relations],
                    "to": [relation.target for relation in relations],
                },
                hide_index=True,
                column_config={
                    "score": st.column_config.NumberColumn(format="%.6f", width="small"),
                    "from": st.column_config.TextColumn(width="large"),
                    "to": st.column_config.TextColumn(width="large"),
                },
            )


def framed_symbol(thumbnail: Callable[[int], bytes], size: int, colour: str, *, frame_px: int) -> tuple[str, int, int]:
    """A picture's symbol in the chart as a data URI, with the width and height it is drawn in.

    Args:
        thumbnail: the picture as JPEG of at most so many pixels a side.
        size: longest side it is drawn in, in pixels, its frame not counted.
        colour: of the frame.
        frame_px: width of the frame as it is drawn.
    """
    made = next((px for px in _MADE_PX if px >= size), _MADE_PX[-1])
    uri, width, height = _framed(thumbnail(made), colour, max(1, round(frame_px * made / size)))
    return uri, round(width * size / made), round(height * size / made)


# A chart has up to a hundred, of some kilobytes each: those of the last views are kept.
@lru_cache(maxsize=4096)
def _framed(jpeg: bytes, colour: str, frame_px: int) -> tuple[str, int, int]:
    return framed_uri(jpeg, colour, frame_px=frame_px)


def _show_legend(view: GraphView) -> None:
    hidden = f" · **{view.hidden_text}**" if view.hidden_text else ""
    st.caption(
        ":orange[■] the query · :blue[■] similar to it · :gray[■] related to a similar one · solid line: SIMILAR_TO, "
        f"dotted: score to the query. Drag to move, scroll to zoom, point at something for its path.{hidden}"
    )
