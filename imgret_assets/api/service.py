"""What all requests share: the settings, the connection to the graph, the threads, the measurements.

Belongs here: opening the home as readers get it, warming up, whether the service is ready. Not here: routes
(`api.similar`, `api.library`), limits of requests (`api.limits`).
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import numpy as np

from imgret_assets.api.limits import Workers, search_threads
from imgret_assets.api.metrics import Metrics
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.graph_state import GraphState, check_owner, require_ready
from imgret_assets.domain.graph.shared_connection import DatabaseHolder
from imgret_assets.domain.operations.complete_state import served_home
from imgret_assets.domain.search.find_similar import search
from imgret_assets.domain.search.query import Query
from imgret_assets.domain.search.query_embedding import query_embedder
from imgret_assets.domain.storage.home import Home, open_existing_home
from imgret_assets.errors import ImgretError
from imgret_assets.settings import Settings
from imgret_assets.terminal import printable

STARTING, READY = "starting", "ready"
# Lists, facts and thumbnails take milliseconds; they don't wait behind searches.
_READING_THREADS = 4
_PROBING_THREADS = 2

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class Service:
    """One served home.

    Attributes:
        settings: of the process.
        metrics: what is measured.
        searching: threads for searches.
        reading: threads for everything else.
        probing: threads for the checks of `/readyz`, which come in time however much is asked.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        limits = {"timeout_s": settings.api.timeout_s, "metrics": self.metrics}
        self.searching = Workers("search", search_threads(settings.api.threads), **limits)
        self.reading = Workers("read", _READING_THREADS, **limits)
        self.probing = Workers("probe", _PROBING_THREADS, **limits)
        self._holder = DatabaseHolder(settings)
        self._warming = threading.Lock()
        self._is_warm = False

    def home(self) -> Home:
        """Return the home as readers get it: the last complete state while a run changes the tables.

        Raises:
            HomeError: there is no home.
        """
        return served_home(open_existing_home(self.settings))

    def folders(self) -> list[str]:
        """Return the folders of this machine that a client need not know."""
        roots = [self.settings.images]
        with suppress(ImgretError):
            roots.append(self.home().images)
        images = [str(folder) for known in roots if known is not None for _, folder in known.folders]
        return [str(self.settings.home), *images]

    def use_graph(self, work: Callable[[Database], Result]) -> Result:
        """Return what `work` makes of the connection; raise what `DatabaseHolder.use` raises."""
        return self._holder.use(work)

    def warm(self) -> str:
        """Open the connection, load the model and search, once; return `READY`.

        `STARTING` is returned if another thread does it now.

        Raises:
            ImgretError: there is no home, no graph or no model; the next call tries again.
        """
        if not self._warming.acquire(blocking=False):
            return STARTING
        try:
            state = self._graph_state()
            if not self._is_warm:
                embedder = query_embedder(self.home(), state.model)
                embedder.load()
                height, width = embedder.space.preprocessing.size
                [vector] = embedder.embed(np.full((1, height, width, 3), 128, np.uint8))
                # The first search of a server takes seconds: it reads the index and plans its statements.
                self.use_graph(lambda database: search(self.home(), database, state, vector, Query()))
                self._is_warm = True
            return READY
        finally:
            self._warming.release()

    def warm_or_log(self) -> None:
        """Warm up; a failure is logged, and is the answer of `/readyz`."""
        try:
            self.warm()
        except ImgretError as error:
            _log.warning("imgret: not ready yet: %s", printable(str(error)))

    def _graph_state(self) -> GraphState:
        home = self.home()
        return self.use_graph(lambda database: require_ready(check_owner(database, home), database.uri))

    def close(self) -> None:
        """Close the connection; nothing is answered any more."""
        for workers in (self.searching, self.reading, self.probing):
            workers.close()
        self._holder.close()
