"""The resource that provides the home: its tables, and the locks that separate runs.

Belongs here: completing the configuration from the settings. Not here: tables and locks themselves
(`domain.storage.tables`, `domain.storage.locks`).
"""

from contextlib import ExitStack, suppress

import dagster as dg
from pydantic import Field, PrivateAttr

from imgret_assets.defs.environment import started_environment
from imgret_assets.defs.instance.process_runs import process_tag
from imgret_assets.defs.job_names import REFRESH_JOBS
from imgret_assets.defs.resources.image_store import ImageStoreResource
from imgret_assets.domain.operations.table_store import store_session
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ImgretError
from imgret_assets.settings import Settings, load_settings


class WarehouseResource(dg.ConfigurableResource):
    """The home with its tables; empty fields are completed from the settings."""

    image_store: dg.ResourceDependency[ImageStoreResource]
    home: str | None = Field(default=None, description="Folder of tables, database and caches. If empty: IMGRET_HOME.")
    shards: int | None = Field(default=None, description="Number of partitions of a new home. If empty: IMGRET_SHARDS.")
    lock_timeout_s: float | None = Field(
        default=None, description="Seconds to wait for another run. If empty: IMGRET_LOCK_TIMEOUT_S."
    )

    _session: ExitStack = PrivateAttr(default_factory=ExitStack)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Take the tables of the home's store for a run that makes assets, and tag the run with its process.

        So a process that dies is noticed (`defs.instance.process_runs`), and its lease of the store ends.

        Raises:
            StoreError: IMGRET_STORE is set, and the store can't be reached or refuses; nothing was written.
        """
        if context.run is None or context.instance is None or not context.instance.has_run(context.run.run_id):
            return
        if context.run.job_name in REFRESH_JOBS:
            session = self._session.enter_context(store_session(self._settings(), f"run {context.run.run_id[:8]}"))
            if session is not None and session.taken is not None and context.log is not None:
                context.log.info(session.taken.summary)
        # What is wrong with the home is named by the step that needs it; a query needs no home that can be written.
        with suppress(ImgretError):
            context.instance.add_run_tags(context.run.run_id, process_tag(self.open()))

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Release the lease of the store."""
        self._session.close()

    def open(self) -> Home:
        """Return the home; create it on first use.

        Raises:
            SettingError: a setting is invalid or contradicts the home.
        """
        return open_home(self._settings())

    def _settings(self) -> Settings:
        flags = {
            "home": self.home,
            "shards": self.shards,
            "lock_timeout_s": self.lock_timeout_s,
            "images": self.image_store.root,
            "max_pixels": self.image_store.max_pixels,
            "max_bytes": self.image_store.max_bytes,
        }
        return load_settings(flags, env=started_environment())
