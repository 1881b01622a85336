"""DAGSTER_HOME: created once, under a lock, and the same for every command.

Belongs here: `dagster.yaml`, the first opening of the storage, whether the storage can be used. Not here: executing
runs (`defs.execute_refresh`).
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from imgret_assets.domain.storage import atomic_files, locks, permissions
from imgret_assets.domain.storage.sqlite import is_disk_full
from imgret_assets.errors import DiskFullError, HomeError, ImgretError, error_chain
from imgret_assets.settings import Settings
from imgret_assets.wording import counted

CONFIGURATION = """\
# Made by imgret's set-up; yours to change. https://docs.dagster.io has every option.
telemetry:
  enabled: false
nux:
  enabled: false
run_monitoring:
  enabled: true
  start_timeout_seconds: 300
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
concurrency:
  runs:
    max_concurrent_runs: 4
"""


def check_storage(settings: Settings) -> str:
    """Return where Dagster's storage is, after a check that it can be used; nothing is created.

    Files in DAGSTER_HOME must have been made by `prepare`. A database elsewhere is asked for its runs instead, because
    each container that uses it has a DAGSTER_HOME of its own.

    Raises:
        ImgretError: DAGSTER_HOME does not exist yet, or the database does not answer.
        HomeError: this user can't write DAGSTER_HOME.
    """
    folder = settings.dagster_home
    missing = ImgretError(f"{folder} does not exist yet", remedy="run `imgret setup`")
    if not (folder / "dagster.yaml").is_file():
        raise missing
    if not os.access(folder, os.W_OK | os.X_OK):
        raise HomeError(f"{folder} can't be written by this user", remedy="set DAGSTER_HOME to a writable folder")
    data = InstanceRef.from_dir(str(folder)).storage_data
    storage = "separate storages" if data is None else data.class_name
    if storage == "DagsterSqliteStorage":
        if not (folder / ".imgret-ready").is_file():
            raise missing
        return str(folder)
    try:
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            count = instance.get_runs_count()
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ImgretError(
            f"Dagster's storage does not answer ({storage}: {reason})",
            remedy=f"start the database that {folder / 'dagster.yaml'} names",
        ) from error
    return f"{folder}, {counted(count, 'run')} in {storage}"


def prepare(settings: Settings) -> None:
    """Create DAGSTER_HOME if it does not exist, and set it in the environment of this process.

    Processes that open a new storage at the same time can damage it. Therefore the first one opens it here, alone.
    """
    folder = settings.dagster_home
    os.environ["DAGSTER_HOME"] = str(folder)
    ready = folder / ".imgret-ready"
    if ready.is_file():
        return
    permissions.restrict(settings.readable_by)
    folder.mkdir(parents=True, exist_ok=True)
    with locks.hold(folder / ".locks", ["storage"], timeout_s=settings.lock_timeout_s, purpose="making DAGSTER_HOME"):
        if ready.is_file():
            return
        configuration = folder / "dagster.yaml"
        if not configuration.is_file():
            with atomic_files.replacing(configuration) as temporary:
                temporary.write_text(CONFIGURATION, encoding="utf-8")
        with dg.DagsterInstance.get() as instance:
            instance.get_runs(limit=1)
            instance.fetch_materializations(dg.AssetKey("raw_images"), limit=1)
            instance.all_instigator_state()
        ready.touch()


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Provide the Dagster instance of these settings; create it if it does not exist.

    Raises:
        DiskFullError: Dagster's storage could not be written, at the start or within the block.
    """
    with named_storage_errors(settings.dagster_home):
        prepare(settings)
        with dg.DagsterInstance.get() as instance:
            yield instance


@contextmanager
def named_storage_errors(folder: Path) -> Iterator[None]:
    """Raise an error of Dagster's storage that means a full disk by its name.

    Raises:
        DiskFullError: no room for the storage in `folder`.
    """
    try:
        yield
    except ImgretError:
        raise
    except Exception as error:
        if _is_full(error, folder):
            raise DiskFullError(
                f"No room on the disk for Dagster's storage in {folder}",
                remedy="free some space or move DAGSTER_HOME to a larger disk, then run again: it goes on where it was",
            ) from error
        raise


def _is_full(error: BaseException, folder: Path) -> bool:
    """Return True where one of the causes of an error is that of a database without room."""
    chain = error_chain(error, "__cause__", "__context__")
    return any(isinstance(cause, sqlite3.Error) and is_disk_full(cause, folder) for cause in chain)
