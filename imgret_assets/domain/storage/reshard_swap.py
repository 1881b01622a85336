"""The last step of resharding: the new tables take the place of the old ones.

Belongs here: the swap, its marker, and finishing it after a killed run. Not here: rewriting tables
(`domain.operations.reshard`).
"""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

from imgret_assets.domain.storage import atomic_files, tables
from imgret_assets.domain.storage.home_record import HomeRecord, read_record, shard_keys, write_record
from imgret_assets.errors import HomeError
from imgret_assets.settings import MAX_SHARDS

_log = logging.getLogger(__name__)

_MARKER = "READY.json"


def staging_folder(home: Path) -> Path:
    """Return the folder in which a home's new tables are made."""
    return home / "work" / "reshard"


def mark_ready(home: Path, shards: int) -> None:
    """Record that all tables of the staging folder are complete; from here on the swap is finished, never undone."""
    atomic_files.write_json(staging_folder(home) / _MARKER, {"shards": shards})


def is_ready(home: Path) -> bool:
    """Return True where a swap has begun or is about to."""
    return (staging_folder(home) / _MARKER).is_file()


def _ready_shards(home: Path) -> int:
    """Return the number of shards of the swap: of the marker, or of the new tables where the marker is damaged.

    Raises:
        HomeError: neither says it.
    """
    marker = staging_folder(home) / _MARKER
    try:
        shards = json.loads(marker.read_text(encoding="utf-8"))["shards"]
        if type(shards) is int and 1 <= shards <= MAX_SHARDS:
            return shards
    except (ValueError, KeyError, TypeError):
        pass
    # The new tables know their number; those that are in their place already are among the others.
    staged = sorted(staging_folder(home).rglob("shard=*.parquet"))
    numbers = {int(tables.read_metadata(file).get("shards", "0")) for file in staged}
    if len(numbers) == 1 and 1 <= (shards := numbers.pop()) <= MAX_SHARDS:
        _log.warning("%s is damaged; the new tables have %d shards.", marker, shards)
        return shards
    raise HomeError(
        f"{marker} is damaged, and no new table is left to say how many shards the home has",
        expected='{"shards": N} with the number that `imgret reshard` was called with',
        remedy="write that into the file; the next command then finishes the reshard",
    )


def finish_swap(home: Path) -> HomeRecord | None:
    """Complete the swap and return the home's new record; None where no swap is ready.

    A killed run may have done any of the steps before; each can be repeated. The caller holds the lock `home`.
    """
    staging = staging_folder(home)
    record = read_record(home)
    if record is None or not is_ready(home):
        return None
    shards = _ready_shards(home)
    names = {f"shard={key}.parquet" for key in shard_keys(shards)}
    for file in sorted(staging.rglob("shard=*.parquet")):
        target = home / "warehouse" / file.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
    for file in (home / "warehouse").rglob("shard=*.parquet"):
        if file.name not in names:
            file.unlink()
    record = replace(record, shards=shards)
    write_record(home, record)
    shutil.rmtree(staging)
    return record
