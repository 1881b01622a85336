"""The full screen of the triage: two images in turn at one place, their difference, and the keys.

Belongs here: the element in the browser, whose parts are the files `triage_dialog.html`, `.css` and `.js` beside this
one. Not here: what it shows and what keys do (`app.components.triage`).

Turning from one image to the other, blinking and the difference happen in the browser alone; only decisions, and going
to another set, ask the server.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2 import component


def triage_dialog(data: Mapping[str, Any], *, key: str, on_key: Callable[[dict[str, Any]], None]) -> None:
    """Fill the window with a set.

    Args:
        data: what is shown (`app.components.triage` makes it): `set` with its `files`, or None if none is left.
        key: of the element.
        on_key: called with the `action`, the `set`'s key and the `path` of the image that was shown.
    """

    def act() -> None:
        pressed = st.session_state[key].get("pressed")
        if isinstance(pressed, Mapping):
            on_key(dict(pressed))

    _component()(key=key, data=dict(data), on_pressed_change=act)


@cache
def _component() -> Any:
    html, css, js = (Path(__file__).with_suffix(suffix).read_text("utf-8") for suffix in (".html", ".css", ".js"))
    return component("imgret_triage", html=html, css=css, js=js)
