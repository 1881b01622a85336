"""The web page as an ASGI application, with the request guard before it; `imgret app` runs it.

Belongs here: the application that `streamlit run` finds in this file. Not here: the script of the page (`app.main`),
images at addresses of their own (`app.components.image_route`), the requests of the map (`app.map_server`), Streamlit's
options (`cli.app`), what is refused (`request_guard`).
"""

import os
from pathlib import Path
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.routing import Route
from streamlit.starlette import App

from imgret_assets.app.components import image_route
from imgret_assets.app.map_server import ROUTES
from imgret_assets.request_guard import RequestGuard, allowed_hosts
from imgret_assets.settings import load_settings

_settings = load_settings()
_hosts = allowed_hosts(
    [*_settings.allowed_hosts, urlsplit(_settings.app_url).hostname or ""],
    address=os.environ.get("STREAMLIT_SERVER_ADDRESS"),
)
# `streamlit run` looks for an assignment of this form.
app = App(
    Path(__file__).with_name("main.py"),
    routes=[*ROUTES, Route(image_route.ROUTE, image_route.answer_preview)],
    middleware=[Middleware(RequestGuard, hosts=_hosts)],
)
