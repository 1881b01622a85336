"""The graph record: which tables each asset of the graph had read when it last ended well.

Belongs here: the entries, the files behind each, writing and comparing them. Not here: the state node, which the
database itself holds (`domain.graph.graph_state`), whether the tables are current (`domain.operations.backlog`).

The record is a file of the home, so that what the graph lacks is known while no server runs. An entry holds size and
modification time of each file that its asset read. Any of these files that is written again makes the entry old: the
next run compares the graph with the tables, which costs little where they are equal, and renews the entry. Decisions
(`domain.review`) are not among the files: they reach the graph with the next run, whatever causes it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from imgret_assets.domain.embeddings.table_reader import embeddings_files
from imgret_assets.domain.graph.relationship_kinds import DUPLICATE_OF, KINDS, SIMILAR_TO
from imgret_assets.domain.storage import atomic_files, tables
from imgret_assets.domain.storage.home import Home

NODES, GROUPS = "image_nodes", "image_node_groups"
Stamp = list[int] | None


def node_entry(shard: str) -> str:
    """Return the entry of one shard's nodes."""
    return f"{NODES}/{shard}"


def graph_inputs(home: Home, space: str) -> dict[str, list[Path]]:
    """Return the files that each entry is made from, in the order in which a run writes the entries."""
    embeddings = embeddings_files(home, space)
    inputs = {
        node_entry(shard): [tables.manifest_path(home.warehouse, shard), file]
        for shard, file in zip(home.shards, embeddings, strict=True)
    }
    sources = {
        SIMILAR_TO.asset: [tables.pairs_path(home.warehouse, space)],
        DUPLICATE_OF.asset: [tables.duplicates_path(home.warehouse)],
    }
    # Replacing a node deletes its relationships, so every kind depends on the vectors, too.
    inputs |= {kind.asset: [*sources.get(kind.asset, []), *embeddings] for kind in KINDS}
    return inputs | {GROUPS: [tables.groups_path(home.warehouse, space), *embeddings]}


@contextmanager
def recorded(home: Home, space: str, entries: Sequence[str]) -> Iterator[None]:
    """Record after the block that these entries of the graph are equal to the tables as they are before the block.

    A block that fails records nothing. The caller holds the lock of the graph.

    Raises:
        DiskFullError, HomeError: the record can't be written.
    """
    inputs = graph_inputs(home, space)
    made_from = {entry: _entry(home, space, entry, inputs[entry]) for entry in entries}
    yield
    stored = _read(home)
    if any(stored.get(entry) != value for entry, value in made_from.items()):
        atomic_files.write_json(_path(home), {**stored, **made_from})


def outdated_entries(home: Home, space: str) -> list[str]:
    """Return the entries that were never recorded, or were made from other tables or in another database.

    Those of nodes are outdated by a change of IMGRET_GRAPH_VECTORS as well.
    """
    stored = _read(home)
    return [
        entry
        for entry, files in graph_inputs(home, space).items()
        if stored.get(entry) != _entry(home, space, entry, files)
    ]


def file_stamps(home: Home, files: Sequence[Path]) -> dict[str, Stamp]:
    """Return size in bytes and modification time in ns of each file by its path in the home; None if it is missing."""
    return {str(file.relative_to(home.path)): _stamp(file) for file in files}


def _entry(home: Home, space: str, name: str, files: Sequence[Path]) -> dict[str, object]:
    neo4j = home.settings.neo4j
    database = [neo4j.uri or "", neo4j.database or ""]
    entry: dict[str, object] = {"space": space, "database": database, "files": file_stamps(home, files)}
    # Absent of nodes with vectors, as in the records of earlier versions.
    return entry | ({} if neo4j.vectors or not name.startswith(f"{NODES}/") else {"vectors": False})


def _stamp(file: Path) -> Stamp:
    try:
        status = file.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _path(home: Home) -> Path:
    return home.work / "graph-record.json"


def _read(home: Home) -> Mapping[str, object]:
    """Read the record; empty where it is missing or damaged: the next run writes it again."""
    try:
        stored = json.loads(_path(home).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}
