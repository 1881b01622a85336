"""Images of the library at an address of their own, for views that the browser loads them into.

Belongs here: the address of an image, and what is answered there. Not here: which files may be shown and how they are
made smaller (`app.components.thumbnails`), which hosts and sites may ask (`request_guard`), the application
(`app.page_server`).
"""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from imgret_assets.app import turns
from imgret_assets.app.components.thumbnails import file_preview
from imgret_assets.domain.images.file_reading import stamp_of_file
from imgret_assets.domain.images.files import image_file
from imgret_assets.domain.operations.complete_state import served_home
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ImgretError
from imgret_assets.settings import load_settings

ROUTE = "/preview"
PREVIEW_PX = 2048
_KEPT_BY_BROWSER_S = 24 * 60 * 60
# Each decoded image takes memory and a processor.
_turns = turns.Turns(usable_threads())


def preview_address(home: Home, path: str) -> str:
    """Return where the page's server has an image of the library, at most PREVIEW_PX long.

    A changed file has another address, so that a browser never shows the old one.
    """
    try:
        mtime_ns, length = stamp_of_file(home.images / path)
        stamp = f"{mtime_ns}-{length}"
    except (OSError, ValueError):
        stamp = ""
    return f"{ROUTE}?{urlencode({'path': path, 'stamp': stamp}, errors='surrogateescape')}"


def answer_preview(request: Request) -> Response:
    """Return the image that the address names (`path`) as JPEG; 404 if it is none that the page shows."""
    try:
        home = served_home(open_home(load_settings()))
    except ImgretError as error:
        return PlainTextResponse(f"imgret: {error}\n", status_code=503)
    file = image_file(home.images, request.query_params.get("path", ""))
    if file is None:
        return PlainTextResponse("imgret: there is no such image\n", status_code=404)
    with _turns.turn():
        data = file_preview(file, PREVIEW_PX, max_pixels=home.settings.max_pixels, max_bytes=home.settings.max_bytes)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": f"private, max-age={_KEPT_BY_BROWSER_S}"})
