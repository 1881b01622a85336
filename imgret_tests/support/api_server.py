"""The HTTP API in the process of a test: a client of the application, or a server on a port.

Belongs here: making them, a fake of the search. Not here: the fake of the database (`fake_search.py`), the command
(`cli.serve`).
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import uvicorn
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from imgret_assets.api.server import create_app
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.neo4j_server.host import LOCALHOST, unused_port
from imgret_assets.domain.search.query import Answer, Hit, Query, QueryImage
from imgret_assets.domain.search.query_parts import QueryPart, query_name
from imgret_assets.domain.storage.home import Home
from imgret_assets.settings import ApiSettings, Settings

ADDRESS = "http://127.0.0.1:8600"
_STARTS_WITHIN_S = 20.0


class PartsSearch:
    """Stands for `find_similar`: answers every query with the same hits, and records the parts of each."""

    def __init__(self) -> None:
        self.hits: list[Hit] = []
        self.failure: Exception | None = None
        self.refreshing = False
        self.unusable: list[str] = []
        self.asked: list[tuple[list[QueryPart], Query, bool]] = []

    @property
    def queries(self) -> list[tuple[QueryImage, Query]]:
        """The first image and the parameters of each query."""
        return [(parts[0].source, query) for parts, query, _ in self.asked if isinstance(parts[0].source, QueryImage)]

    def __call__(
        self, home: Home, parts: Sequence[QueryPart], query: Query, *, database: Database, skip_unusable: bool
    ) -> Answer:
        self.asked.append((list(parts), query, skip_unusable))
        if self.failure is not None:
            raise self.failure
        described = [] if len(parts) == 1 else [part.as_json() for part in parts]
        facts = (self.refreshing, self.hits)
        return Answer(query_name(parts), "fake-0", query.mode, 12.3, *facts, parts=described, unusable=self.unusable)


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
