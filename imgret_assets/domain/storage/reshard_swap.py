"""The last step of resharding: the new tables take the place of the old ones.

Belongs here: the swap, its marker, and finishing it after a killed run. Not here: rewriting tables
(`domain.operations.reshard`).
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home_record import HomeRecord, read_record, shard_keys, write_record

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


def finish_swap(home: Path) -> HomeRecord | None:
    """Complete the swap and return the home's new record; None where no swap is ready.

    A killed run may have done any of the steps before; each can be repeated. The caller holds the lock `home`.
    """
    staging = staging_folder(home)
    record = read_record(home)
    if record is None or not is_ready(home):
        return None
    shards = json.loads((staging / _MARKER).read_text(encoding="utf-8"))["shards"]
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
