"""The map of all images as an element of the page: its frame, its styles, and what is done on it.

Belongs here: the element and its events. Not here: its script (`map_canvas.js`), the points and their colours
(`app.graph_chart.map_points`), the requests of the script (`app.map_server`), what follows from a click
(`app.views.map_view`).
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from streamlit.components.v2 import component

from imgret_assets.app.graph_chart.map_points import PALETTES, MapPoints
from imgret_assets.wording import counted

# Where the script requests the points and thumbnails.
PREFIX = "/map-data"
# Thumbnails are drawn while at most so many images are in view, and no more than these.
THUMBNAILS_FROM, MAX_THUMBNAILS = 1500, 160
_HTML = """
<section class="map">
  <div class="tools" role="toolbar" aria-label="Map">
    <button type="button" name="closer" aria-label="Zoom in" title="Zoom in (+)">+</button>
    <button type="button" name="farther" aria-label="Zoom out" title="Zoom out (-)">−</button>
    <button type="button" name="all" title="Show the whole map (0)">Whole map</button>
    <button type="button" name="lasso" aria-pressed="false" title="Draw around images (or drag with Shift)">
      Lasso</button>
    <button type="button" name="visible" title="List all images in view">Select visible</button>
    <button type="button" name="images" aria-pressed="true" title="Show thumbnails when zoomed in">Thumbnails</button>
  </div>
  <div class="stage">
    <canvas class="canvas" role="application" tabindex="0" aria-roledescription="map"
      aria-describedby="imgret-map-keys"></canvas>
    <div class="hint" hidden><canvas aria-hidden="true"></canvas><span></span></div>
  </div>
  <p class="status" role="status"></p>
  <div class="legend" role="group" aria-label="Legend"></div>
  <p id="imgret-map-keys" class="keys">Arrow keys move the map, + and − zoom, 0 shows all of it, Enter selects the image
    nearest to the middle.</p>
</section>
"""
_STYLES = """
.map { font: .875rem var(--st-font); color: var(--st-text-color); }
.tools, .legend { display: flex; flex-wrap: wrap; gap: .35rem; align-items: center; margin: 0 0 .4rem; }
button { font: inherit; color: inherit; background: var(--st-background-color); cursor: pointer; min-height: 2rem;
  border: 1px solid color-mix(in srgb, currentColor 35%, transparent); border-radius: .5rem; padding: .2rem .6rem; }
button:hover { border-color: currentColor; }
button[aria-pressed=true] { background: color-mix(in srgb, currentColor 16%, transparent); border-color: currentColor; }
:focus-visible { outline: 3px solid var(--st-primary-color); outline-offset: 1px; }
.stage { position: relative; height: clamp(20rem, 62vh, 48rem); border-radius: .5rem; overflow: hidden;
  border: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
.canvas { display: block; width: 100%; height: 100%; touch-action: none; cursor: grab; }
.canvas:active { cursor: grabbing; }
.canvas.lassoing { cursor: crosshair; }
.canvas:focus-visible { outline-offset: -3px; }
.hint { position: absolute; pointer-events: none; max-width: 17rem; padding: .4rem; border-radius: .5rem;
  background: var(--st-background-color); border: 1px solid color-mix(in srgb, currentColor 35%, transparent); }
.hint[hidden], .hint canvas[hidden] { display: none; }
.hint canvas { display: block; margin-bottom: .3rem; }
.hint span { overflow-wrap: anywhere; }
.status { margin: .35rem 0; min-height: 1.3em; overflow-wrap: anywhere; }
.keys { margin: .2rem 0 0; color: color-mix(in srgb, currentColor 80%, transparent); }
.legend button { border-color: transparent; padding: .1rem .4rem; min-height: 1.7rem; text-align: left;
  overflow-wrap: anywhere; }
.legend button[aria-pressed=true] { border-color: currentColor; }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .4em;
  vertical-align: -.05em; }
"""


@dataclass(frozen=True)
class MapEvent:
    """What was done on the map.

    Attributes:
        picked: number of the image that was clicked; None if none was.
        chosen: int64 (n,), numbers of the images in the lasso or in view; None if none were chosen.
    """

    picked: int | None = None
    chosen: np.ndarray | None = None


def map_canvas(points: MapPoints, *, colour_by: str, selected: int | None, key: str) -> MapEvent:
    """Show the map and return what was done on it since the last view.

    Args:
        points: the images; published by `app.map_server.publish`, from where the browser gets them.
        colour_by: name of one of the colourings.
        selected: number of the image that is marked; None for none.
        key: of the element.
    """
    colouring = points.colouring(colour_by)
    data = {
        "version": points.version,
        "url": PREFIX.strip("/"),
        "count": len(points.paths),
        "thumbnailsFrom": THUMBNAILS_FROM,
        "maxThumbnails": MAX_THUMBNAILS,
        "codes": [each.name for each in points.colourings],
        "colouring": {
            "name": colouring.name,
            "entries": [
                {"code": entry.code, "label": entry.label, "count": entry.count} for entry in colouring.entries
            ],
            "more": colouring.more,
        },
        "palettes": {theme: list(colours) for theme, colours in PALETTES.items()},
        "selected": -1 if selected is None else selected,
        "label": f"Map of {counted(len(points.paths), 'image')}, coloured by {colouring.name}",
    }
    result = _component()(key=key, data=data, on_pick_change=_draw_again, on_lasso_change=_draw_again)
    return MapEvent(picked_row(result.get("pick"), points), chosen_rows(result.get("lasso"), points))


def picked_row(event: Mapping[str, Any] | None, points: MapPoints) -> int | None:
    """Return the number of the image that was clicked, whatever the browser sends; None for an older map."""
    if not event or event.get("version") != points.version:
        return None
    row = event.get("row")
    return row if isinstance(row, int) and 0 <= row < len(points.paths) else None


def chosen_rows(event: Mapping[str, Any] | None, points: MapPoints) -> np.ndarray | None:
    """Return the numbers of the images that were chosen, sorted int64 (n,); None for an older map."""
    if not event or event.get("version") != points.version:
        return None
    try:
        data = base64.b64decode(str(event.get("rows", "")), validate=True)
        rows = np.unique(np.frombuffer(data, dtype="<u4")).astype(np.int64)
    except (binascii.Error, ValueError):
        return None
    return rows[rows < len(points.paths)]


def _draw_again() -> None:
    """Do nothing: a callback makes an event draw the page again."""


@cache
def _component() -> Any:
    script = Path(__file__).with_name("map_canvas.js").read_text(encoding="utf-8")
    return component("imgret_map", html=_HTML, css=_STYLES, js=script)
