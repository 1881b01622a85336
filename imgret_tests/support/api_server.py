"""The HTTP API in the process of a test: a client of the application, or a server on a port.

Belongs here: making them. Not here: fakes of database and search (`fake_search.py`), the command (`cli.serve`).
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import uvicorn
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from imgret_assets.api.server import create_app
from imgret_assets.domain.neo4j_server.host import LOCALHOST, unused_port
from imgret_assets.settings import ApiSettings, Settings

ADDRESS = "http://127.0.0.1:8600"
_STARTS_WITHIN_S = 20.0


def client_of(settings: Settings, api: ApiSettings | None = None) -> TestClient:
    """Return a client of the API for these settings; exceptions of the application are answers."""
    app = create_app(replace(settings, api=api or ApiSettings()))
    return TestClient(app, base_url=ADDRESS, raise_server_exceptions=False)


@contextmanager
def listening(app: ASGIApp) -> Iterator[int]:
    """Serve an application on an unused port of this machine, in a thread, for the block; yield the port."""
    port = unused_port()
    server = uvicorn.Server(uvicorn.Config(app, host=LOCALHOST, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(_STARTS_WITHIN_S)
