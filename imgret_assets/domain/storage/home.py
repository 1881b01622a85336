"""A home: one folder with the tables, the locks and the record of what they were built from.

Belongs here: the folder's layout, opening it, the settings in force. Not here: what users set (`settings`), the record
itself (`domain.storage.home_record`), table schemas (`domain.storage.tables`).
"""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from imgret_assets.domain.objects.object_cache import keep_objects
from imgret_assets.domain.storage import locks, permissions, pull_swap, reshard_swap
from imgret_assets.domain.storage.home_record import HomeRecord, read_record, require_home, shard_keys, write_record
from imgret_assets.errors import HomeError, ImgretError, ReshardedError, SettingError
from imgret_assets.image_roots import ImageRoots
from imgret_assets.settings import DEFAULT_SHARDS, DEFAULT_THRESHOLD, Settings, available_model


@dataclass(frozen=True)
class CompleteState:
    """Tables that belong together, kept beside those that a run is changing or has left half changed.

    Attributes:
        folder: has the layout of the warehouse.
        at: when the newest of the tables was written, UTC.
    """

    folder: Path
    at: datetime


@dataclass(frozen=True)
class Home:
    """An opened home: its folders, and the settings in force, which its record completes.

    `complete_state` is set where readers get the last complete state (`domain.operations.complete_state`).
    """

    settings: Settings
    record: HomeRecord
    complete_state: CompleteState | None = None

    @property
    def path(self) -> Path:
        """The home's folder."""
        return self.settings.home

    @property
    def warehouse(self) -> Path:
        """Folder of the tables that users may read, or of the complete state that is read instead."""
        return self.complete_state.folder if self.complete_state else self.path / "warehouse"

    @property
    def live(self) -> "Home":
        """The home with the tables as they are now."""
        return replace(self, complete_state=None)

    @property
    def work(self) -> Path:
        """Folder of intermediate vectors and pairs, which only imgret reads."""
        return self.path / "work"

    @property
    def locks(self) -> Path:
        """Folder of the lock files."""
        return self.path / "locks"

    @property
    def shards(self) -> list[str]:
        """All shard keys, in order."""
        return shard_keys(self.record.shards)

    @property
    def images(self) -> ImageRoots:
        """The image roots: as set, else as recorded, else the samples."""
        if self.settings.images is not None:
            return self.settings.images
        if self.record.root:
            return ImageRoots.parse(self.record.root, "the home's record")
        return ImageRoots.plain(self.path / "samples")

    @property
    def model(self) -> str:
        """The model's name: as set, else as recorded, else the default, whose weights are on this machine."""
        return self.settings.model or self.record.model or available_model(self.settings)

    @property
    def weights(self) -> Path | None:
        """The weights file: as set, else the one recorded with the same model."""
        if self.settings.weights is not None:
            return self.settings.weights
        if self.record.weights and self.model == self.record.model:
            return Path(self.record.weights)
        return None

    @property
    def threshold(self) -> float:
        """The raw cosine above which two images are related: as set, else as recorded, else 0.8."""
        for value in (self.settings.threshold, self.record.threshold):
            if value is not None:
                return value
        return DEFAULT_THRESHOLD

    @contextmanager
    def hold(self, names: Iterable[str], purpose: str) -> Iterator[None]:
        """Hold the named locks of this home for the length of the block, after a wait of at most IMGRET_LOCK_TIMEOUT_S.

        See `locks.hold` for the arguments and the errors.

        Raises:
            ReshardedError: tables are to be locked, and since this home was opened it has got other shards.
        """
        names = list(names)
        with _hold(self.settings, names, purpose):
            if any(name == locks.GRAPH or name.startswith(locks.SHARD_PREFIX) for name in names):
                self.check_shards(len(self.shards))
            yield

    def share_layout(self, purpose: str) -> AbstractContextManager[None]:
        """Keep the number of shards from changing for the length of the block. Open the home again inside it.

        To be taken before any other lock. See `locks.share` for the arguments and the errors.
        """
        return locks.share(self.locks, locks.LAYOUT, timeout_s=self.settings.lock_timeout_s, purpose=purpose)

    @contextmanager
    def unchanged_shards(self) -> Iterator[None]:
        """Read tables in the block without a lock, and raise one named error if a reshard has moved them meanwhile.

        It takes the place of the error that the block ended with, such as that of a missing table. Without one, what
        the block has read may be of two numbers of shards.

        Raises:
            ReshardedError: the home is being resharded or was, since it was opened.
        """
        try:
            yield
        except (ImgretError, OSError) as error:
            try:
                self.check_shards(len(self.shards))
            except ReshardedError as resharded:
                raise resharded from error
            raise
        self.check_shards(len(self.shards))

    def check_shards(self, expected: int) -> None:
        """Raise an error if the home does not have this number of shards any more.

        Raises:
            ReshardedError: it has another number by now, or its tables are being replaced by those of another number.
        """
        if reshard_swap.is_ready(self.path):
            raise ReshardedError(
                f"{self.path} is being resharded; nothing was changed",
                remedy="run again, which waits for the reshard or finishes it",
            )
        record = read_record(self.path) or self.record
        if record.shards != expected:
            raise ReshardedError(
                f"{self.path} was resharded from {expected} to {record.shards} shards while this process waited; "
                "nothing was changed",
                remedy="run again; in Dagster, reload the code location first",
            )

    def update(self, **changes: object) -> "Home":
        """Record these fields and return the home with its new record; equal values write nothing.

        The changes apply to the record on disk: another process may have changed it since this home was opened.
        """
        current = read_record(self.path) or self.record
        if replace(current, **changes) != current:
            with self.hold([locks.HOME], "home record"):
                current = replace(read_record(self.path) or self.record, **changes)
                write_record(self.path, current)
        return replace(self, record=current)


def shard_count(settings: Settings) -> int:
    """Return the number of shards in force, without making a home.

    Raises:
        SettingError: IMGRET_SHARDS contradicts the number with which the home was made.
    """
    record = read_record(settings.home)
    return settings.shards or DEFAULT_SHARDS if record is None else _agreed_shards(settings, record)


def open_home(settings: Settings) -> Home:
    """Open the home; make it at first use. From then on, this process writes files as IMGRET_READABLE_BY says.

    Raises:
        SettingError: IMGRET_SHARDS contradicts the home.
        HomeError: the folder can't be made, or its record can't be read.
    """
    permissions.restrict(settings.readable_by)
    keep_objects(settings.home / "objects", round(settings.object_cache_gb * 1e9))
    if reshard_swap.is_ready(settings.home):
        with _hold(settings, [locks.HOME], "finishing a reshard"):
            reshard_swap.finish_swap(settings.home)
    if pull_swap.is_ready(settings.home):
        with _hold(settings, [locks.HOME], "finishing the taking of tables from a store"):
            pull_swap.finish_swap(settings.home)
    count = shard_count(settings)
    record = read_record(settings.home) or _make_home(settings, count)
    return Home(settings=settings, record=record)


def open_existing_home(settings: Settings) -> Home:
    """Open the home for a command that needs one; nothing is made.

    Raises:
        HomeError: there is no home in the folder.
        SettingError: IMGRET_SHARDS contradicts the home.
    """
    if not reshard_swap.is_ready(settings.home) and not pull_swap.is_ready(settings.home):
        require_home(settings.home)
    return open_home(settings)


def _make_home(settings: Settings, shards: int) -> HomeRecord:
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(
            f"{settings.home} can't be made ({error.strerror})",
            remedy="set IMGRET_HOME to a folder this user can write",
        ) from error
    with _hold(settings, [locks.HOME], "making the home"):
        record = read_record(settings.home)
        if record is None:
            record = HomeRecord(id=uuid.uuid4().hex, shards=shards)
            write_record(settings.home, record)
    # Another process may have made it in the meantime, with other settings.
    _agreed_shards(settings, record)
    return record


def _agreed_shards(settings: Settings, record: HomeRecord) -> int:
    if settings.shards not in (None, record.shards):
        raise SettingError(
            f"IMGRET_SHARDS is {settings.shards}, but {settings.home} was made with {record.shards} shards",
            remedy=f"remove the setting, or run `imgret reshard {settings.shards}`",
        )
    return record.shards


def _hold(settings: Settings, names: Iterable[str], purpose: str) -> AbstractContextManager[None]:
    return locks.hold(settings.home / "locks", names, timeout_s=settings.lock_timeout_s, purpose=purpose)
