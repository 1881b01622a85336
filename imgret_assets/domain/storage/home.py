"""A home: one folder with the tables, the locks and the record of what they were built from.

Belongs here: the folder's layout and `home.json`. Not here: what users set (`settings`), table schemas
(`domain.storage.tables`).
"""

import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from imgret_assets.domain.storage import atomic_files, locks
from imgret_assets.domain.storage.home_record import HomeRecord, read_record, record_path, shard_keys
from imgret_assets.errors import HomeError, SettingError
from imgret_assets.settings import DEFAULT_MODEL, DEFAULT_SHARDS, DEFAULT_THRESHOLD, Settings


@dataclass(frozen=True)
class Home:
    """An opened home: its folders and, completed from its record, the settings in force."""

    settings: Settings
    record: HomeRecord

    @property
    def path(self) -> Path:
        """The home's folder."""
        return self.settings.home

    @property
    def warehouse(self) -> Path:
        """Folder of the readable tables."""
        return self.path / "warehouse"

    @property
    def work(self) -> Path:
        """Folder of vectors and pairs on their way; nobody else reads it."""
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
    def images(self) -> Path:
        """The image root: as set, else as recorded, else the samples."""
        recorded = Path(self.record.root) if self.record.root else self.path / "samples"
        return self.settings.images or recorded

    @property
    def model(self) -> str:
        """The model's name: as set, else as recorded, else the default."""
        return self.settings.model or self.record.model or DEFAULT_MODEL

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
        """The cosine above which two images are joined: as set, else as recorded, else 0.8."""
        for value in (self.settings.threshold, self.record.threshold):
            if value is not None:
                return value
        return DEFAULT_THRESHOLD

    def update(self, **changes: object) -> "Home":
        """Record what a run was told; the same values again write nothing.

        What counts is the record as it is now: another process may have changed it since this home was opened.
        """
        current = read_record(self.path) or self.record
        if asdict(current) != {**asdict(current), **changes}:
            with locks.held(self.locks, ["home"], timeout_s=self.settings.lock_timeout_s, purpose="home record"):
                current = HomeRecord(**{**asdict(read_record(self.path) or self.record), **changes})
                atomic_files.write_json(record_path(self.path), asdict(current))
        return replace(self, record=current)


def shard_count(settings: Settings) -> int:
    """The number of shards in force, without making a home.

    Raises:
        SettingError: IMGRET_SHARDS contradicts what the home was made with.
    """
    record = read_record(settings.home)
    return settings.shards or DEFAULT_SHARDS if record is None else _agreed_shards(settings, record)


def _agreed_shards(settings: Settings, record: HomeRecord) -> int:
    if settings.shards not in (None, record.shards):
        raise SettingError(
            f"IMGRET_SHARDS is {settings.shards}, but {settings.home} was made with {record.shards} shards",
            remedy=f"remove the setting, or run `imgret reshard {settings.shards}`",
        )
    return record.shards


def _finish_reshard(settings: Settings) -> None:
    if not (settings.home / "work" / "reshard" / "READY.json").is_file():
        return
    from imgret_assets.domain.storage.reshard_swap import finish  # it builds on this module

    with locks.held(
        settings.home / "locks", ["home"], timeout_s=settings.lock_timeout_s, purpose="finishing a reshard"
    ):
        finish(settings.home)


def open_home(settings: Settings) -> Home:
    """Open the home, making it at first use.

    Raises:
        SettingError: IMGRET_SHARDS contradicts the home.
        HomeError: the folder can't be made or its record not be read.
    """
    _finish_reshard(settings)
    count = shard_count(settings)
    record = read_record(settings.home)
    if record is None:
        try:
            settings.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HomeError(
                f"{settings.home} can't be made ({error.strerror})",
                remedy="set IMGRET_HOME to a folder this user can write",
            ) from error
        with locks.held(
            settings.home / "locks", ["home"], timeout_s=settings.lock_timeout_s, purpose="making the home"
        ):
            record = read_record(settings.home)
            if record is None:
                record = HomeRecord(id=uuid.uuid4().hex, shards=count)
                atomic_files.write_json(record_path(settings.home), asdict(record))
        # Another process may have made it meanwhile, with other settings.
        _agreed_shards(settings, record)
    return Home(settings=settings, record=record)
