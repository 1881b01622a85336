"""Finish a resharding: put the new tables in place of the old ones.

Belongs here: the swap, which a killed run may have left half-way. Not here: rewriting tables
(`domain.operations.reshard`).
"""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home_record import HomeRecord, read_record, record_path, shard_keys

_MARKER = "READY.json"


def finish(home: Path) -> HomeRecord | None:
    """Complete a swap whose marker is there; the home's record then. Every step may have been done before."""
    aside = _aside(home)
    record = read_record(home)
    if record is None or not (aside / _MARKER).is_file():
        return None
    shards = json.loads((aside / _MARKER).read_text(encoding="utf-8"))["shards"]
    keep = {f"shard={key}.parquet" for key in shard_keys(shards)}
    for file in sorted(aside.rglob("shard=*.parquet")):
        target = home / "warehouse" / file.relative_to(aside)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
    for file in (home / "warehouse").rglob("shard=*.parquet"):
        if file.name not in keep:
            file.unlink()
    record = replace(record, shards=shards)
    atomic_files.write_json(record_path(home), asdict(record))
    shutil.rmtree(aside)
    return record


def _aside(home: Path) -> Path:
    return home / "work" / "reshard"
