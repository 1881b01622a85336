"""The backlog of a home: which of manifest, embeddings, tables and graph are behind what they are made from.

Belongs here: the comparison of each layer with the one before it, without the images and without the model. Not here:
comparing files with the manifest (`domain.images.change_detection`), catching up (the refresh job), when to ask for it
(`defs.sensors`), checks of contents (`domain.embeddings.table_checks`, `domain.graph.consistency`).

Sensor, page and `imgret doctor` say what this module finds. It costs little where nothing has changed: which files were
compared last, and the coverage of the embeddings then, is kept in the home; else paths and contents are read, without
vectors. The graph is known from the home's own record (`domain.graph.graph_record`); a server is asked for its state
only if it runs.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from imgret_assets.domain.analysis import groups_table, map_table
from imgret_assets.domain.duplicates import duplicates_table
from imgret_assets.domain.embeddings.table_reader import embeddings_files, list_embeddings, read_current_shard
from imgret_assets.domain.graph import graph_record
from imgret_assets.domain.graph.connection import open_database
from imgret_assets.domain.graph.graph_state import IMPORTED, READY, check_owner
from imgret_assets.domain.images.manifest import read_manifest_metadata
from imgret_assets.domain.neo4j_server import host, lifecycle, run_file
from imgret_assets.domain.storage import atomic_files, tables
from imgret_assets.domain.storage.derived_tables import DERIVED_TABLES, DUPLICATES, GROUPS, MAP, DerivedTable
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ForeignDatabaseError, ImgretError, StaleTableError, TableError
from imgret_assets.settings import Settings

MISSING, CURRENT, OLDER, DAMAGED = "missing", "current", "older", "damaged"
# Tables of another method are made again by the next run.
_METHODS: Mapping[str, Callable[[Settings], str]] = {
    GROUPS.asset: lambda _: groups_table.METHOD,
    MAP.asset: lambda _: map_table.METHOD,
    DUPLICATES.asset: duplicates_table.method_of,
}


@dataclass(frozen=True)
class AssetState:
    """How one asset stands to what it is made from.

    Attributes:
        asset: name of the asset.
        state: `current`, `older`, `missing` or `damaged`.
        shards: keys of the shards that are not current; empty for an asset without shards.
        reason: what differs; empty where nothing does.
    """

    asset: str
    state: str
    shards: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Backlog:
    """The state of every asset of a home, in the order of the layers."""

    assets: tuple[AssetState, ...]

    @property
    def behind(self) -> tuple[AssetState, ...]:
        """The assets that are not current."""
        return tuple(asset for asset in self.assets if asset.state != CURRENT)

    @property
    def shards(self) -> list[str]:
        """Keys of the shards that must be refreshed; a run over any other range leaves something behind."""
        return sorted({shard for asset in self.behind for shard in asset.shards})

    @property
    def key(self) -> str:
        """A name of what is behind; the same backlog has the same key."""
        parts = [f"{asset.asset} {asset.state} {','.join(asset.shards)} {asset.reason}" for asset in self.behind]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16] if parts else ""

    @property
    def summary(self) -> str:
        """What is behind, in a line; empty where nothing is."""
        by_reason: dict[str, list[str]] = {}
        for asset in self.behind:
            by_reason.setdefault(asset.reason, []).append(asset.asset)
        parts = [f"{', '.join(assets)} ({reason})" for reason, assets in by_reason.items()]
        return f"Behind: {'; '.join(parts)}." if parts else ""


def read_backlog(home: Home, space: str | None) -> Backlog:
    """Compare manifest, embeddings, derived tables and graph with what each is made from.

    Nothing is started. Damaged and missing files are part of the answer.

    Args:
        home: the home.
        space: id of the embedding space; None if nothing has been embedded with the model in force.
    """
    of_tables = read_backlog_of_tables(home, space)
    return of_tables if space is None else Backlog((*of_tables.assets, *_graph_states(home, space)))


def read_backlog_of_tables(home: Home, space: str | None) -> Backlog:
    """Compare manifest, embeddings and derived tables as `read_backlog` does, and leave out the graph."""
    listed = _state_of_shards("raw_images", home.shards, lambda shard: _manifest_state(home, shard))
    if space is None:
        return Backlog((listed, AssetState("embeddings", MISSING, tuple(home.shards), "nothing embedded yet")))
    shard_states, coverage = _compare_shards(home, space)
    embedded = _state_of_shards("embeddings", home.shards, shard_states.__getitem__)
    derived = [_derived_state(home, space, table, coverage) for table in DERIVED_TABLES]
    return Backlog((listed, embedded, *derived))


def _state_of_shards(asset: str, shards: Sequence[str], state_of: Callable[[str], str]) -> AssetState:
    """Combine the states of an asset's shards; the worst is that of the asset."""
    states = {shard: state_of(shard) for shard in shards}
    behind = tuple(shard for shard, state in states.items() if state != CURRENT)
    worst = next((state for state in (DAMAGED, MISSING, OLDER) if state in states.values()), CURRENT)
    return AssetState(asset, worst, behind, f"{worst} in {len(behind)} of {len(states)} shards" if behind else "")


def _manifest_state(home: Home, shard: str) -> str:
    if not tables.manifest_path(home.warehouse, shard).is_file():
        return MISSING
    try:
        metadata = read_manifest_metadata(home, shard)
    except TableError:
        return DAMAGED
    return CURRENT if metadata is not None and metadata.root == str(home.images) else OLDER


def _compare_shards(home: Home, space: str) -> tuple[dict[str, str], str | None]:
    """Return the state of each shard's embeddings, and their coverage if all are current.

    Only shards whose files were written since the last comparison are read, without their vectors.
    """
    note = home.work / "backlog" / f"{space}.json"
    earlier = _read_note(note)
    known: Any = earlier.get("shards", {})
    shards: dict[str, dict[str, Any]] = {}
    for shard, file in zip(home.shards, embeddings_files(home, space), strict=True):
        stamps = graph_record.file_stamps(home, [tables.manifest_path(home.warehouse, shard), file])
        known_shard = known.get(shard, {})
        is_known = known_shard.get("files") == stamps and known_shard.get("state") in (CURRENT, OLDER, MISSING, DAMAGED)
        state = known_shard["state"] if is_known else _embeddings_state(home, space, shard, file)
        shards[shard] = {"files": stamps, "state": state}
    coverage = earlier.get("coverage") if known == shards else None
    if coverage is None and all(shard["state"] == CURRENT for shard in shards.values()):
        # A table that is replaced in between makes the note old, not wrong: the stamps are of before.
        with suppress(TableError):
            coverage = list_embeddings(home, space).coverage
    if earlier != (found := {"shards": shards, "coverage": coverage}) and home.work.is_dir():
        # A home that can't be written, or a full disk, costs the next reader the same comparison again.
        with suppress(ImgretError, OSError):
            atomic_files.write_json(note, found)
    return {shard: value["state"] for shard, value in shards.items()}, coverage


def _read_note(path: Path) -> Mapping[str, Any]:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) and isinstance(note.get("shards"), dict) else {}


def _embeddings_state(home: Home, space: str, shard: str, file: Path) -> str:
    if not file.is_file():
        return MISSING
    try:
        read_current_shard(home, space, shard, [])
    except StaleTableError:
        return OLDER
    except TableError:
        return DAMAGED if tables.manifest_path(home.warehouse, shard).is_file() else OLDER
    return CURRENT


def _derived_state(home: Home, space: str, table: DerivedTable[Any], coverage: str | None) -> AssetState:
    try:
        if not table.path(home.warehouse, space).is_file():
            return AssetState(table.asset, MISSING, reason="missing")
        metadata = table.metadata(home.warehouse, space)
    except TableError:
        return AssetState(table.asset, DAMAGED, reason="damaged")
    if metadata is None or metadata.space != space or coverage is None or metadata.coverage != coverage:
        return AssetState(table.asset, OLDER, reason="older than the embeddings")
    if table.asset in _METHODS and metadata.method != _METHODS[table.asset](home.settings):
        return AssetState(table.asset, OLDER, reason="made by the method of an earlier version or other settings")
    return AssetState(table.asset, CURRENT)


def _graph_states(home: Home, space: str) -> list[AssetState]:
    """Return the states of the graph's assets."""
    all_entries = list(graph_record.graph_inputs(home, space))
    fault = _graph_fault(home, space)
    outdated = all_entries if fault else graph_record.outdated_entries(home, space)
    reason = fault or "older than the tables"
    nodes = {graph_record.node_entry(shard): shard for shard in home.shards}
    shards = tuple(nodes[entry] for entry in outdated if entry in nodes)
    return [
        AssetState(graph_record.NODES, OLDER, shards, reason) if shards else AssetState(graph_record.NODES, CURRENT),
        *(
            AssetState(asset, OLDER, (), reason) if asset in outdated else AssetState(asset, CURRENT)
            for asset in all_entries
            if asset not in nodes
        ),
    ]


def _graph_fault(home: Home, space: str) -> str:
    """Return what a server that runs reports against its graph; empty if it reports nothing, or none runs."""
    if not _is_reachable(home):
        return ""
    try:
        with open_database(home.settings) as database:
            state = check_owner(database, home)
    except ForeignDatabaseError as error:
        return str(error)
    except ImgretError:
        # Without an answer the record of the home decides.
        return ""
    if state is None:
        return "the database holds no graph"
    if state.model != space:
        return f"the graph is of {state.model}"
    if state.state == IMPORTED:
        return "the graph was imported and has no indexes yet"
    return "" if state.state == READY else f"a run that wrote the graph did not end: it is {state.state}"


def _is_reachable(home: Home) -> bool:
    """Return whether the server accepts connections now; an embedded one is not started."""
    external = lifecycle.external_server(home.settings)
    if external is None:
        return lifecycle.status(home.settings) is not None
    try:
        address = urlsplit(external.uri)
        return host.is_listening(address.port or run_file.BOLT_PORT, address.hostname or host.LOCALHOST)
    except (OSError, ValueError):
        return False
