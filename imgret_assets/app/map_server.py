"""What the map in the browser requests: its points as bytes, and thumbnails of images in view.

Belongs here: the addresses and their answers. Not here: the points (`app.graph_chart.map_points`), the map
(`app.components.map_canvas`), which requests are refused (`request_guard`), the server (`app.page_server`).

Only maps that the page has shown are answered for, by a hash of their content. So the browser may keep what it got, and
no request names a file.
"""

import threading
from collections import OrderedDict
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from imgret_assets.app.components.map_canvas import PREFIX
from imgret_assets.app.components.thumbnails import home_thumbnail
from imgret_assets.app.graph_chart.map_points import MapPoints
from imgret_assets.domain.images.files import image_file
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.domain.storage.home import Home

THUMBNAIL_PX = 128
# Header of a thumbnail with the image's path, percent-encoded.
PATH_HEADER = "imgret-path"
_KEPT = 4
_CACHED = {"Cache-Control": "private, max-age=3600"}
_published: "OrderedDict[str, tuple[Home, MapPoints]]" = OrderedDict()
_lock = threading.Lock()
# Decoding more images at a time than there are processors only takes memory.
_decoding = threading.Semaphore(usable_threads())


def publish(home: Home, points: MapPoints) -> None:
    """Answer requests for this map from now on; the last few that were published are kept."""
    with _lock:
        _published[points.version] = (home, points)
        _published.move_to_end(points.version)
        while len(_published) > _KEPT:
            _published.popitem(last=False)


def _find(request: Request) -> tuple[Home, MapPoints] | None:
    with _lock:
        return _published.get(request.path_params["version"])


def _unknown() -> Response:
    return PlainTextResponse("imgret: this map is no longer shown; reload the page\n", status_code=404)


def answer_points(request: Request) -> Response:
    """Return the points of a map, see `MapPoints.payload`."""
    found = _find(request)
    if found is None:
        return _unknown()
    return Response(found[1].payload, media_type="application/octet-stream", headers=_CACHED)


def answer_thumbnail(request: Request) -> Response:
    """Return a thumbnail of an image as JPEG, by its number on the map."""
    found = _find(request)
    row: int = request.path_params["row"]
    if found is None or row >= len(found[1].paths):
        return _unknown()
    home, points = found
    path = points.paths[row]
    with _decoding:
        data = home_thumbnail(home, image_file(home.images, path), THUMBNAIL_PX)
    headers = _CACHED | {PATH_HEADER: quote(path, errors="surrogatepass")}
    return Response(data, media_type="image/jpeg", headers=headers)


ROUTES = [
    Route(f"{PREFIX}/points/{{version:str}}", answer_points),
    Route(f"{PREFIX}/thumbnail/{{version:str}}/{{row:int}}", answer_thumbnail),
]
