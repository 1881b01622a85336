"""Two images side by side, and the measurements that decide how they are related.

Belongs here: both images in any size, the tables below them. Not here: measuring (`domain.search.explain`), which two
images are shown (`app.views.compare_page`, `app.views.search_page`).
"""

import io

import streamlit as st
from PIL import Image

from imgret_assets.app.components.thumbnails import readable_bytes
from imgret_assets.app.page_frame import try_or_show_error
from imgret_assets.app.plain_text import markdown_text
from imgret_assets.domain.images.decode import decode
from imgret_assets.domain.images.image_status import UnusableImageError
from imgret_assets.domain.models.resolution import resolve_space
from imgret_assets.domain.search.explain import Criterion, ExplainedImage, Explanation, explain
from imgret_assets.domain.search.query import QueryImage
from imgret_assets.domain.storage.home import Home
from imgret_assets.wording import score_text

SIDE_BY_SIDE, ONE_AT_A_TIME, ACTUAL_PIXELS = "Side by side", "One at a time", "Actual pixels"
# Formats that browsers show; images of other formats are decoded here.
_BROWSER_FORMATS = frozenset({"JPEG", "PNG", "WEBP", "GIF"})
_KIND_TEXT = {
    "exact": ":green-badge[exact duplicate]",
    "near": ":blue-badge[near-duplicate]",
    "look_first": ":orange-badge[look first]",
    "mirrored": ":orange-badge[mirrored copy]",
    "rotated": ":orange-badge[rotated copy]",
    "similar": ":violet-badge[similar]",
    "different": ":gray-badge[different]",
}

# As narrow as the marks in it: a narrow window has little room for the other columns.
_MARK_FIRST = {"": st.column_config.TextColumn(width=32)}
_TITLES = {
    "exact": "The same file",
    "near": "The same image, saved in another way",
    "look_first": "Nearly the same image: look at the difference",
    "mirrored": "The same image, mirrored",
    "rotated": "The same image, rotated",
    "similar": "Two images that resemble each other",
    "different": "Two different images",
}


def show_comparison(home: Home, space: str, left: QueryImage, right: QueryImage) -> None:
    """Draw both images and the tables; if they can't be compared, show why.

    Args:
        home: the home.
        space: id of the graph's embedding space.
        left: an image.
        right: the other image.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = st.segmented_control(
            "View",
            [SIDE_BY_SIDE, ONE_AT_A_TIME, ACTUAL_PIXELS],
            default=SIDE_BY_SIDE,
            required=True,
            key="compare-way",
        )
        if st.button("Swap", key="compare-swap", shortcut="x", help="Exchange left and right, or show the other image"):
            st.session_state["compare-swapped"] = not st.session_state.get("compare-swapped", False)
    # Filled last, because measuring takes longer than showing the images.
    verdict = st.container(gap="xsmall")
    swapped = st.session_state.get("compare-swapped", False)
    first, second = (right, left) if swapped else (left, right)
    if view == SIDE_BY_SIDE:
        for column, image in zip(st.columns(2), (first, second), strict=True):
            with column:
                _show_image(image, max_pixels=home.settings.max_pixels)
    else:
        _show_image(first, max_pixels=home.settings.max_pixels, actual_pixels=view == ACTUAL_PIXELS)
        if view == ACTUAL_PIXELS:
            _show_image(second, max_pixels=home.settings.max_pixels, actual_pixels=True)
    explanation = try_or_show_error(lambda: explain(home, resolve_space(home, space).space, first, second))
    if explanation is not None:
        with verdict:
            st.subheader(_TITLES.get(explanation.kind, explanation.kind), anchor=False)
            st.markdown(markdown_text(verdict_text(explanation)))
        _show_measurements(explanation)
        _show_differences(explanation.a, explanation.b)


def _show_image(image: QueryImage, *, max_pixels: int, actual_pixels: bool = False) -> None:
    st.text(image.name)
    try:
        with Image.open(io.BytesIO(image.data)) as header:
            shown_by_browser = header.format in _BROWSER_FORMATS
        decoded = decode(image.data, max_pixels=max_pixels)
    except (UnusableImageError, OSError) as problem:
        st.error(f"The image can't be shown: {markdown_text(str(problem))}. What to do: choose another image.")
        return
    # With a width in pixels Streamlit sends the file as it is; without one it makes large images smaller. It enlarges
    # neither.
    width = decoded.width if actual_pixels else "content"
    st.image(image.data if shown_by_browser else decoded, width=width, alt=image.name)


def verdict_text(explanation: Explanation) -> str:
    """Return what two images are to each other, and which one has more to it, in words."""
    a, b = explanation.a, explanation.b
    score = score_text(explanation.cosine)
    if explanation.kind == "exact":
        return f"Both files have the same {a.bytes:,} bytes."
    if explanation.kind in ("similar", "different"):
        side = "above" if explanation.cosine > explanation.threshold else "not above"
        limit = f"the graph's threshold of {explanation.threshold:g}"
        return f"They are no duplicates. Their score is {score}, {side} {limit}."
    reason = f"{explanation.why[:1].upper()}{explanation.why[1:]}. " if explanation.kind == "look_first" else ""
    if a.width * a.height != b.width * b.height:
        side = "left" if a.width * a.height > b.width * b.height else "right"
        sizes = f"{a.width:,} × {a.height:,} on the left, {b.width:,} × {b.height:,} on the right"
        return f"{reason}The {side} one has more pixels: {sizes}. Their score is {score}."
    pixels = f"Both have {a.width * a.height:,} pixels"
    if a.bytes == b.bytes:
        return f"{reason}{pixels}, and files of one size. Their score is {score}."
    side = "left" if a.bytes > b.bytes else "right"
    sizes = f"{readable_bytes(a.bytes)} on the left, {readable_bytes(b.bytes)} on the right"
    return f"{reason}{pixels}. The {side} file is larger: {sizes}. Their score is {score}."


def _show_measurements(explanation: Explanation) -> None:
    ranks = [
        f"{side} is nearest neighbour {rank} of {other_side}"
        for side, other_side, rank in (
            ("right", "left", explanation.rank_of_b),
            ("left", "right", explanation.rank_of_a),
        )
        if rank is not None
    ]
    facts = [
        f"score **{score_text(explanation.cosine, 4)}**",
        *ranks,
        *(["same group"] if explanation.same_group else []),
    ]
    st.markdown(f"{_KIND_TEXT.get(explanation.kind, explanation.kind)} {markdown_text(explanation.why)}")
    st.caption(" · ".join(facts))
    for note in explanation.notes:
        st.caption(markdown_text(note))
    criteria = explanation.criteria
    st.dataframe(
        {
            "": [_met(criterion) for criterion in criteria],
            "criterion": [criterion.name for criterion in criteria],
            "value": [_value(criterion) for criterion in criteria],
            "required": [criterion.needed for criterion in criteria],
        },
        hide_index=True,
        column_config=_MARK_FIRST,
    )


def _value(criterion: Criterion) -> str:
    if criterion.value is None:
        return "not measurable"
    if isinstance(criterion.value, bool):
        return "yes" if criterion.value else "no"
    if isinstance(criterion.value, str):
        return criterion.value
    return score_text(criterion.value, 4) if isinstance(criterion.value, float) else f"{criterion.value:,}"


def _met(criterion: Criterion) -> str:
    return "" if criterion.met is None else "✓" if criterion.met else "✗"


def _show_differences(left: ExplainedImage, right: ExplainedImage) -> None:
    st.subheader("Differences", anchor=False)
    rows = [(name, left_value, _facts(right)[name]) for name, left_value in _facts(left).items()]
    st.dataframe(
        {
            "": ["=" if left_value == right_value else "≠" for _, left_value, right_value in rows],
            "property": [name for name, _, _ in rows],
            "left": [left_value for _, left_value, _ in rows],
            "right": [right_value for _, _, right_value in rows],
        },
        hide_index=True,
        column_config=_MARK_FIRST,
    )


def _facts(image: ExplainedImage) -> dict[str, str]:
    """Return the properties of an image as text, by name, in the order of the table."""
    return {
        "path": image.path or image.file,
        "pixels": f"{image.width:,} × {image.height:,}",
        "bytes": f"{image.bytes:,} ({readable_bytes(image.bytes)})",
        "format": image.format,
        "taken": "" if image.taken is None else f"{image.taken:%Y-%m-%d %H:%M:%S}",
        "camera": image.camera or "",
        "folder": image.label or "",
        "group": image.group or "",
        "sha256": image.sha256,
    }
