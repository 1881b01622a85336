"""The graph as files for `neo4j-admin database import full`, which fills an empty database many times faster than Bolt.

Belongs here: the files, with all that a run writes to a graph, and the arguments of the import. Not here: other exports
(`domain.operations.export`), the import into the embedded server (`domain.neo4j_server.offline_import`), the graph in
Neo4j (`domain.graph.image_nodes`).

Files are CSV, compressed, with the header of each in a file of its own. Every release of Neo4j takes them, and every
edition. (The Parquet reader of 2026.01 mixes up the lists of several rows.) The imported graph has no constraints and
no indexes, and its state is `imported`: the next run makes them, compares the graph with the tables, and writes no node
and no relationship that is as it should be.
"""

import gzip
import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from imgret_assets.domain.embeddings.table_reader import list_embeddings, usable_batches, usable_rows
from imgret_assets.domain.graph.graph_state import IMPORTED
from imgret_assets.domain.graph.relationship_kinds import RelationshipKind
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.numerics.vectors import unusable_vectors
from imgret_assets.domain.operations.export import (
    EXPORTED_KINDS,
    Export,
    ImageGroups,
    open_relationships,
    read_image_groups,
)
from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.derived_tables import PAIRS
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import StaleTableError, TableError

NEO4J_ADMIN = "neo4j-admin"
ARGUMENTS = "import.args"
# Columns of nodes and their types in the import, in the order of the file; vectors follow where the graph has them.
_NODE_COLUMNS = {
    "path": "ID",
    "sha256": "string",
    "engine": "string",
    "model": "string",
    "bytes": "long",
    "width": "long",
    "height": "long",
    "format": "string",
    "label": "string",
    "taken": "localdatetime",
    "camera": "string",
    "shard": "string",
    "group": "string",
    "indexed_at": "datetime",
}
_VECTOR = "embeddings"
_NODE_LABELS = ("Image", "ImgretState")
# By the types of properties in `relationship_kinds`.
_PROPERTY_TYPES = {"STRING": "string", "FLOAT": "double", "INTEGER": "long", "ZONED DATETIME": "datetime"}
_STATE_TYPES = {str: "string", int: "long", float: "double", bool: "boolean"}
# A higher level takes ten times as long for a tenth of the size.
_COMPRESSION = 1
_ROWS = 20_000
Write = Callable[[Mapping[str, pa.Array | pa.ChunkedArray]], None]


def export_for_import(home: Home, space: EmbeddingSpace, folder: Path) -> Export:
    """Write all usable images and their relationships as the files of an import, and the arguments of the import.

    Nodes have the vectors if IMGRET_GRAPH_VECTORS says so. The vectors are read in batches.

    Args:
        home: the home.
        space: the embedding space of vectors, pairs and groups.
        folder: created if it is missing; files of the same names are replaced.

    Raises:
        TableError, StaleTableError: tables are missing or don't belong together, or hold a vector that is zero or not
            finite.
        HomeError: the decisions can't be read, or the files can't be written.
        DiskFullError: there is no space for the files.
        ReshardedError: a reshard has replaced tables in the meantime.
    """
    notes: list[str] = []
    with home.unchanged_shards():
        listing = list_embeddings(home, space.id)
        threshold = PAIRS.require_current(home.warehouse, space.id, listing.coverage).threshold
        relationships = open_relationships(home, space, listing, notes)
        groups = read_image_groups(home, space, listing.coverage, notes)
    # Files of two exports don't belong together: without the arguments nothing imports them.
    (folder / ARGUMENTS).unlink(missing_ok=True)
    files = _ImportFiles(folder)
    counts = {kind.name: 0 for kind in EXPORTED_KINDS}
    nodes = 0
    with home.unchanged_shards():
        node_types = _NODE_COLUMNS | ({_VECTOR: "float[]"} if home.settings.neo4j.vectors else {})
        for shard in home.shards:
            with files.table("nodes", "Image", node_types, shard) as write:
                nodes += _write_nodes(home, space, shard, groups, write)
        for kind, parts in relationships:
            properties = {name: _PROPERTY_TYPES[type_] for name, type_ in kind.properties.items()}
            with files.table(kind.name, kind.name, {"source": "START_ID", "target": "END_ID"} | properties) as write:
                for columns in parts:
                    counts[kind.name] += len(columns["source"])
                    write(_relationship_columns(kind, columns, space))
        files.write_state(_state(home, space, threshold))
    files.write_arguments()
    return Export(files.written, nodes, counts, notes)


def import_command(home: Home, folder: Path) -> str:
    """Return the command that fills a database with the files of a folder; an external server's is for that folder."""
    if home.settings.neo4j.embedded:
        return f"imgret db import {shlex.quote(str(folder))}"
    database = shlex.quote(home.settings.neo4j.database or "neo4j")
    return (
        f"in a copy of this folder on the server's machine, with the server stopped: "
        f"neo4j-admin database import full @{ARGUMENTS} {database}"
    )


class _ImportFiles:
    """The files of an import in a folder, and the arguments that name them."""

    def __init__(self, folder: Path) -> None:
        self.written: list[Path] = []
        self._folder = folder
        self._data: dict[tuple[str, str], list[str]] = {}
        self._has_line_breaks = False

    @contextmanager
    def table(self, name: str, label: str, types: Mapping[str, str], part: str = "") -> Iterator[Write]:
        """Open the file of one table, or of a part of it; yield the function that writes columns of rows to it.

        Args:
            name: of the file.
            label: label of the nodes, or type of the relationships.
            types: the columns and their types in the import.
            part: of the table, if it has several.
        """
        names = self._data.setdefault((name, label), [])
        if not names:
            header = self._folder / f"{name}-header.csv"
            with atomic_files.replacing(header) as temporary:
                temporary.write_text(",".join(_heading(*item) for item in types.items()) + "\n", encoding="utf-8")
            self.written.append(header)
            names.append(header.name)
        file = self._folder / f"{name}{f'-{part}' if part else ''}.csv.gz"
        schema = pa.schema([(column, _arrow_type(type_)) for column, type_ in types.items()])
        options = pa_csv.WriteOptions(include_header=False)
        with (
            atomic_files.replacing(file) as temporary,
            gzip.open(temporary, "wb", compresslevel=_COMPRESSION) as stream,
            pa_csv.CSVWriter(stream, schema, write_options=options) as writer,
        ):

            def write(columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> None:
                table = pa.table([columns[name] for name in schema.names], names=schema.names).cast(schema)
                self._has_line_breaks = self._has_line_breaks or _has_line_breaks(table)
                writer.write_table(table)

            yield write
        self.written.append(file)
        names.append(file.name)

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Write the state node's file."""
        types = {name: _STATE_TYPES[type(value)] for name, value in state.items()}
        with self.table("state", "ImgretState", types) as write:
            write({name: pa.array([value]) for name, value in state.items()})

    def write_arguments(self) -> None:
        """Write the arguments of the import, each on a line of its own, as neo4j-admin reads them from a file."""
        lines = []
        for (_, label), names in self._data.items():
            option = "nodes" if label in _NODE_LABELS else "relationships"
            # Neo4j finds no file without the name of a folder.
            lines.append(f"--{option}={label}={','.join(f'./{name}' for name in names)}")
        # A slower way to read, taken only if it is needed.
        lines.append(f"--multiline-fields={json.dumps(self._has_line_breaks)}")
        file = self._folder / ARGUMENTS
        with atomic_files.replacing(file) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self.written.append(file)


def _heading(column: str, type_: str) -> str:
    if type_ in ("START_ID", "END_ID"):
        return f":{type_}"
    return f"{column}:{type_}"


def _arrow_type(type_: str) -> pa.DataType:
    numbers = {"long": pa.int64(), "double": pa.float64(), "boolean": pa.bool_()}
    return numbers.get(type_, pa.string())


def _has_line_breaks(table: pa.Table) -> bool:
    texts = [column for column in table.columns if pa.types.is_string(column.type)]
    options = pc.MatchSubstringOptions("[\n\r]")
    return any(
        pc.call_function("any", [pc.call_function("match_substring_regex", [column], options)]).as_py()
        for column in texts
    )


def _write_nodes(home: Home, space: EmbeddingSpace, shard: str, groups: ImageGroups, write: Write) -> int:
    """Write the nodes of one shard in parts; return their number."""
    rows = usable_rows(home, space.id, shard)
    # A manifest of an earlier version has no columns of date and camera.
    absent = {name: pa.nulls(len(rows), pa.string()) for name in ("taken", "camera") if name not in rows.column_names}
    constant = {"shard": shard, "model": space.id, "indexed_at": datetime.now(UTC).isoformat()}
    columns = {name: rows[name] for name in rows.column_names} | absent | {"group": groups.of(rows["path"])}
    columns |= {name: pa.array([value] * len(rows), pa.string()) for name, value in constant.items()}
    if "taken" not in absent:
        dates = [None if date is None else date.isoformat() for date in rows["taken"].to_pylist()]
        columns["taken"] = pa.array(dates, pa.string())
    table = pa.table({name: columns[name] for name in _NODE_COLUMNS})
    for part in _parts_of_nodes(home, space, shard, table):
        write({name: part[name] for name in part.column_names})
    return len(rows)


def _parts_of_nodes(home: Home, space: EmbeddingSpace, shard: str, table: pa.Table) -> Iterator[pa.Table]:
    """Yield the rows of a shard in parts, with their vectors if the graph has them."""
    if not home.settings.neo4j.vectors:
        for start in range(0, len(table), _ROWS):
            yield table.slice(start, _ROWS)
        return
    start = 0
    for rows, vectors in usable_batches(home, space.id, shard, ["path"]):
        part = table.slice(start, len(rows))
        if not part["path"].equals(rows["path"]):
            raise StaleTableError(
                f"The embeddings of shard {shard} were written during the export", remedy="export again after the run"
            )
        if (bad := unusable_vectors(vectors)).any():
            raise TableError(
                f"The embedding of {rows['path'][int(np.argmax(bad))]} is zero or not finite",
                remedy="remove the shard's embeddings file and run again",
            )
        yield part.append_column(_VECTOR, _as_text(vectors))
        start += len(rows)


def _as_text(vectors: np.ndarray) -> pa.Array:
    """Return float32 (n, dim) as texts that give the same numbers when they are read as float32, separated by `;`."""
    numbers = pa.array(np.ascontiguousarray(vectors).reshape(-1)).cast(pa.string())
    ends = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
    return cast("pa.Array", pc.call_function("binary_join", [pa.ListArray.from_arrays(ends, numbers), pa.scalar(";")]))


def _relationship_columns(
    kind: RelationshipKind, columns: Mapping[str, pa.Array], space: EmbeddingSpace
) -> dict[str, pa.Array]:
    """Return the ends and the properties of relationships."""
    rows = len(columns["source"])
    constant = {"model": pa.array([space.id] * rows, pa.string())}
    names = ["source", "target", *kind.properties]
    return {name: columns[name] if name in columns else constant[name] for name in names}


def _state(home: Home, space: EmbeddingSpace, threshold: float) -> dict[str, Any]:
    state = {
        "home": home.record.id,
        "root": str(home.images),
        "model": space.id,
        "dim": space.dim,
        "threshold": threshold,
        "state": IMPORTED,
    }
    return state if home.settings.neo4j.vectors else {**state, "vectors": False}
