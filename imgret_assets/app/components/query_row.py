"""The query on the page Search: one large image with its crop, or a row of images that can be removed.

Belongs here: drawing the query, the sliders of the crop. Not here: what is searched with
(`app.components.query_choice`), marking hits (`app.components.image_tiles`).
"""

import streamlit as st

from imgret_assets.app.components.query_choice import (
    LIBRARY,
    SAMPLE,
    UPLOAD,
    Choice,
    ChosenQuery,
    samples_folder,
    set_crop,
    unmark,
    uploader_version,
)
from imgret_assets.app.components.thumbnails import (
    cropped_thumbnail,
    equal_tiles,
    home_thumbnail,
    readable_bytes,
)
from imgret_assets.domain.images.crop import PERCENT, Crop
from imgret_assets.domain.images.files import image_file
from imgret_assets.domain.search.query import QueryImage
from imgret_assets.domain.storage.home import Home

# Elements with this prefix of their keys are rows of the query's images.
ROW_KEY = "query-row-"
_KIND_TEXT = {UPLOAD: "Uploaded image", LIBRARY: "From the library", SAMPLE: "Sample query"}
_QUERY_PX, _ROW_PX = 300, 112
_WHOLE = (0, 100)
# Narrower parts have too few pixels to be worth a search.
_MIN_PERCENT = 5


def show_query(home: Home, query: ChosenQuery, first: QueryImage) -> None:
    """Show what is searched with: one large image, or all images, each with a button that removes it.

    Args:
        home: the home.
        query: what is searched with.
        first: the first image of the query.
    """
    if query.is_one_image:
        preview = cropped_thumbnail(first.data, query.crop, _QUERY_PX, max_pixels=home.settings.max_pixels)
        if preview is not None:
            st.image(preview, alt=first.name)
        with st.container(width="content"):
            st.text(first.name)
            st.caption(f"{_KIND_TEXT[query.images[0].kind]} · {readable_bytes(len(first.data))}")
            _show_crop(query)
        return
    with st.container(width="content"):
        _show_row(home, query, first, less=False)
        if query.less:
            _show_row(home, query, first, less=True)
        _show_crop(query)


def _show_row(home: Home, query: ChosenQuery, first: QueryImage, *, less: bool) -> None:
    choices = query.less if less else query.images
    st.caption(f"**{'Less' if less else 'More'} like {'this' if len(choices) == 1 else 'these'}**")
    thumbnails = [_thumbnail(home, choice, query, first) for choice in choices]
    with st.container(horizontal=True, gap="small", key=f"{ROW_KEY}{'less' if less else 'more'}"):
        for number, (choice, tile) in enumerate(zip(choices, equal_tiles(thumbnails, _ROW_PX), strict=True)):
            with st.container(width=_ROW_PX, gap=None):
                st.image(tile, width=_ROW_PX, alt=choice.name)
                st.button(
                    "Remove",
                    key=f"remove-{'less' if less else 'more'}-{number}-{choice.name}",
                    help=f"Search without {choice.name}",
                    icon=":material/close:",
                    type="tertiary",
                    on_click=unmark,
                    args=(choice,),
                )


def _thumbnail(home: Home, choice: Choice, query: ChosenQuery, first: QueryImage) -> bytes:
    if choice == query.images[0]:
        preview = cropped_thumbnail(first.data, query.crop, _ROW_PX, max_pixels=home.settings.max_pixels)
    elif choice.data is not None:
        preview = cropped_thumbnail(choice.data, None, _ROW_PX, max_pixels=home.settings.max_pixels)
    else:
        root = samples_folder(home) if choice.kind == SAMPLE else home.images
        return home_thumbnail(home, image_file(root, choice.name), _ROW_PX)
    return preview if preview is not None else home_thumbnail(home, None, _ROW_PX)


def _show_crop(query: ChosenQuery) -> None:
    """Show the sliders for the part of the first image that is searched with."""
    across, down = _percents(query.crop)
    key = f"crop-{uploader_version()}-{query.images[0].name}"
    # The same sliders whatever the crop, or a key would take the focus from them; the way back sets them, too.
    for name, edges in (("across", across), ("down", down)):
        st.session_state[f"{name}-{key}"] = edges
    of_image = "Crop" if query.is_one_image else "Crop the first image"
    label = of_image if query.crop is None else f"{of_image}: {across[0]}–{across[1]} % × {down[0]}–{down[1]} %"
    with st.popover(label, icon=":material/crop:", help="Search with a part of the image", key="crop-popover"):
        st.slider("From left to right (%)", 0, 100, key=f"across-{key}", on_change=_crop_by, args=(key,))
        st.slider("From top to bottom (%)", 0, 100, key=f"down-{key}", on_change=_crop_by, args=(key,))
        st.button("Whole image", on_click=set_crop, args=(None,), disabled=query.crop is None)


def _percents(crop: Crop | None) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the edges of a crop in percent, left and right, top and bottom; of the whole image if there is none."""
    if crop is None or crop.unit != PERCENT:
        return _WHOLE, _WHOLE
    return (round(crop.x), round(crop.x + crop.width)), (round(crop.y), round(crop.y + crop.height))


def _crop_by(key: str) -> None:
    across, down = (_wide_enough(*st.session_state[f"{name}-{key}"]) for name in ("across", "down"))
    whole = across == down == _WHOLE
    size = across[1] - across[0], down[1] - down[0]
    set_crop(None if whole else Crop(across[0], down[0], *size, PERCENT))


def _wide_enough(low: int, high: int) -> tuple[int, int]:
    if high - low >= _MIN_PERCENT:
        return low, high
    low = min(low, 100 - _MIN_PERCENT)
    return low, low + _MIN_PERCENT
