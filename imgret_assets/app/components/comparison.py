"""Two pictures beside each other: what they have in common, and what decides between copy, similar and different.

Belongs here: both pictures at any size, the tables under them. Not here: measuring (`domain.search.explain`), which
two are shown (`app.views.compare_page`, `app.views.search_page`).
"""

import io

import streamlit as st
from PIL import Image

from imgret_assets.app.components.thumbnails import readable_bytes
from imgret_assets.app.page_frame import attempt
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.images.decode import UnusableImageError, decode
from imgret_assets.domain.models.resolution import resolve_space
from imgret_assets.domain.search.explain import Criterion, ExplainedImage, Explanation, explain
from imgret_assets.domain.search.query import QueryImage
from imgret_assets.domain.storage.home import Home

BESIDE, FLIP, FULL = "Side by side", "One at a time", "Actual pixels"
# What browsers show as it is; anything else is decoded here.
_SHOWN_AS_IS = frozenset({"JPEG", "PNG", "WEBP", "GIF"})
_KIND_TEXT = {
    "exact": ":green-badge[exact copy]",
    "near": ":blue-badge[near copy]",
    "similar": ":violet-badge[similar]",
    "different": ":gray-badge[different]",
}


def show_comparison(home: Home, space: str, left: QueryImage, right: QueryImage) -> None:
    """Draw both pictures and the tables; what can't be compared says why.

    Args:
        home: the home.
        space: id of the graph's embedding space.
        left: a picture.
        right: the other one.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        way = st.segmented_control(
            "How to see them", [BESIDE, FLIP, FULL], default=BESIDE, required=True, key="compare-way"
        )
        if st.button("Swap", key="compare-swap", shortcut="x", help="Exchange left and right, or show the other"):
            st.session_state["compare-swapped"] = not st.session_state.get("compare-swapped", False)
    swapped = st.session_state.get("compare-swapped", False)
    first, second = (right, left) if swapped else (left, right)
    if way == BESIDE:
        for column, image in zip(st.columns(2), (first, second), strict=True):
            with column:
                _show_picture(image, max_pixels=home.settings.max_pixels)
    else:
        _show_picture(first, max_pixels=home.settings.max_pixels, actual=way == FULL)
        if way == FULL:
            _show_picture(second, max_pixels=home.settings.max_pixels, actual=True)
    found = attempt(lambda: explain(home, resolve_space(home, space).space, first, second))
    if found is not None:
        _show_verdict(found)
        _show_differences(found.a, found.b)


def _show_picture(image: QueryImage, *, max_pixels: int, actual: bool = False) -> None:
    st.text(image.name)
    try:
        with Image.open(io.BytesIO(image.data)) as header:
            as_is = header.format in _SHOWN_AS_IS
        decoded = decode(image.data, max_pixels=max_pixels)
    except (UnusableImageError, OSError) as problem:
        st.error(f"It can't be shown: {markdown_text(str(problem))}. What to do: choose another picture.")
        return
    # With a width in pixels Streamlit sends the picture as it is; without one it makes large ones smaller.
    st.image(image.data if as_is else decoded, width=decoded.width if actual else "stretch", alt=image.name)


def _show_verdict(found: Explanation) -> None:
    ranks = [
        f"the {side} one is number {rank} of the other's nearest"
        for side, rank in (("right", found.rank_of_b), ("left", found.rank_of_a))
        if rank is not None
    ]
    facts = [f"score **{found.cosine:.4f}**", *ranks, *(["in one group"] if found.same_group else [])]
    st.markdown(f"{_KIND_TEXT.get(found.kind, found.kind)} {markdown_text(found.why)}")
    st.caption(" · ".join(facts))
    for note in found.notes:
        st.caption(markdown_text(note))
    rows = found.criteria
    st.dataframe(
        {
            "figure": [row.name for row in rows],
            "here": [_value(row) for row in rows],
            "needed": [row.needed for row in rows],
            "met": [_met(row) for row in rows],
        },
        hide_index=True,
    )


def _value(criterion: Criterion) -> str:
    if criterion.value is None:
        return "nothing to measure"
    if isinstance(criterion.value, bool):
        return "yes" if criterion.value else "no"
    return f"{criterion.value:.4f}" if isinstance(criterion.value, float) else f"{criterion.value:,}"


def _met(criterion: Criterion) -> str:
    return "" if criterion.met is None else "✓" if criterion.met else "✗"


def _show_differences(a: ExplainedImage, b: ExplainedImage) -> None:
    st.subheader("What differs", anchor=False)
    facts = [(name, *(_fact(picture, name) for picture in (a, b))) for name in _FACTS]
    st.dataframe(
        {
            "": ["≠" if one != other else "=" for _, one, other in facts],
            "property": [name for name, _, _ in facts],
            "left": [one for _, one, _ in facts],
            "right": [other for _, _, other in facts],
        },
        hide_index=True,
        column_config={"": st.column_config.TextColumn(width="small")},
    )


_FACTS = ("path", "pixels", "bytes", "format", "folder", "group", "sha256")


def _fact(picture: ExplainedImage, name: str) -> str:
    return {
        "path": picture.path or picture.file,
        "pixels": f"{picture.width:,} × {picture.height:,}",
        "bytes": f"{picture.bytes:,} ({readable_bytes(picture.bytes)})",
        "format": picture.format,
        "folder": picture.label or "",
        "group": picture.group or "",
        "sha256": picture.sha256,
    }[name]
