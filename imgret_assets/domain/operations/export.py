"""Export of the graph to files for other programs, from the tables and the decisions, without a database.

Belongs here: nodes and relationships as rows of parquet and CSV files and as GraphML, and what every export reads. Not
here: the files of Neo4j's import (`domain.operations.import_files`), the tables (`domain.storage.tables`), the rows of
each relationship kind (its table module, `domain.graph.relationship_sync`), the graph in Neo4j
(`domain.graph.image_nodes`).

GraphML is that of http://graphml.graphdrawing.org (2002 primer), directed, with paths as the ids of nodes. Rows are
read and written in parts, so the graph need not fit into memory.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from imgret_assets.domain.embeddings.table_reader import Listing, list_embeddings, usable_rows
from imgret_assets.domain.graph.relationship_kinds import KINDS, RelationshipKind
from imgret_assets.domain.graph.relationship_sync import table_of
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.storage import atomic_files, tables
from imgret_assets.domain.storage.derived_tables import GROUPS, PAIRS
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import SettingError

PARQUET, CSV, GRAPHML = FORMATS = ("parquet", "csv", "graphml")
NODE_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("taken", pa.string()),
        ("camera", pa.string()),
        ("shard", pa.string()),
        ("model", pa.string()),
        ("engine", pa.string()),
    ]
)
EXPORTED_KINDS = tuple(kind for kind in KINDS if kind.export_columns is not None)
_COLUMN_TYPES = {name: type_ for kind in EXPORTED_KINDS for name, type_ in (kind.export_columns or {}).items()}
RELATIONSHIP_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("target", pa.string()),
        ("type", pa.string()),
        *((name, pa.type_for_alias(type_)) for name, type_ in _COLUMN_TYPES.items()),
    ]
)
_SCHEMA_VERSION = "2"
# Characters that XML 1.0 excludes even as references, and the carriage return, which readers turn into a line feed.
_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GRAPHML_TYPES = {"int64": "long", "int32": "int", "double": "double", "string": "string"}
Write = Callable[[pa.Table], None]


@dataclass(frozen=True)
class Export:
    """The written files, numbers of nodes and of relationships by type, and notes about what was left out."""

    files: list[Path]
    nodes: int
    relationships: dict[str, int]
    notes: list[str]


def export_graph(home: Home, space: EmbeddingSpace, folder: Path, form: str, *, vectors: bool = False) -> Export:
    """Write all usable images and their relationships.

    `nodes` and `relationships` are two files, or with `graphml` the one file `graph.graphml`. Each file is replaced as
    a whole. `relationship_kinds` has the direction and the columns of each type. `score` is the raw cosine, null for
    exact duplicates; `at` is a date and time, ISO 8601, and `taken` likewise, without a zone.

    Args:
        home: the home.
        space: the embedding space of vectors, pairs and groups.
        folder: created if it is missing; files of the same names are replaced.
        form: one of `FORMATS`.
        vectors: also write each node's `embedding`, float32 (dim,) as stored; parquet only.

    Raises:
        SettingError: the format is unknown, or can't hold vectors.
        TableError, StaleTableError: tables are missing or don't belong together.
        HomeError: the decisions can't be read, or the files can't be written.
        DiskFullError: there is no space for the files.
        ReshardedError: a reshard has replaced tables in the meantime.
    """
    if form not in FORMATS:
        raise SettingError(f"format is {form!r}", expected=" or ".join(FORMATS))
    if vectors and form != PARQUET:
        raise SettingError(f"Vectors can't be exported as {form}", expected="parquet")
    notes: list[str] = []
    with home.unchanged_shards():
        listing = list_embeddings(home, space.id)
        threshold = PAIRS.require_current(home.warehouse, space.id, listing.coverage).threshold
        relationships = open_relationships(home, space, listing, notes)
        groups = read_image_groups(home, space, listing.coverage, notes)
    metadata = {
        "schema": _SCHEMA_VERSION,
        "model": space.id,
        "metric": "cosine",
        "threshold": repr(threshold),
    }
    node_schema = NODE_SCHEMA
    if vectors:
        node_schema = node_schema.append(pa.field("embedding", pa.list_(pa.float32(), space.dim)))
    counts = {kind.name: 0 for kind in EXPORTED_KINDS}
    nodes = 0
    with (
        _writers(folder, form, node_schema, metadata) as (files, write_nodes, write_relationships),
        # Checked before the files take their place.
        home.unchanged_shards(),
    ):
        for table in _nodes(home, space, groups, node_schema):
            nodes += table.num_rows
            write_nodes(table)
        for kind, parts in relationships:
            for columns in parts:
                table = _as_relationships(kind, columns)
                counts[kind.name] += table.num_rows
                write_relationships(table)
    return Export(files, nodes, counts, notes)


def open_relationships(
    home: Home, space: EmbeddingSpace, listing: Listing, notes: list[str]
) -> list[tuple[RelationshipKind, Iterator[Mapping[str, pa.Array]]]]:
    """Return the rows of every kind that has an up-to-date source; note the others."""
    opened = []
    for kind in EXPORTED_KINDS:
        parts = table_of(kind).exported_rows(home, space.id, listing)
        if parts is None:
            notes.append(
                f"{kind.name} relationships are left out: {kind.source} are missing or older than the embeddings "
                f"(asset `{kind.table_asset}`)"
            )
        else:
            opened.append((kind, parts))
    return opened


@dataclass(frozen=True)
class ImageGroups:
    """The images that are in a group of at least two, and their groups: two columns of texts of one length."""

    paths: pa.Array
    groups: pa.Array

    def of(self, paths: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return the group of each image, null for those that are in none."""
        rows = pc.call_function("index_in", [paths], pc.SetLookupOptions(self.paths))
        return pc.call_function("take", [pa.chunked_array([self.groups]), rows])


def read_image_groups(home: Home, space: EmbeddingSpace, coverage: str, notes: list[str]) -> ImageGroups:
    """Return the groups of images; none and a note if their table is missing or outdated."""
    if GROUPS.current_metadata(home.warehouse, space.id, coverage) is None:
        notes.append("groups are left out: they are missing or older than the embeddings (asset `image_groups`)")
        return ImageGroups(pa.array([], pa.string()), pa.array([], pa.string()))
    rows = tables.read(tables.groups_path(home.warehouse, space.id), ["path", "group", "size"])
    members = rows.filter(pc.call_function("greater", [rows["size"], pa.scalar(1, pa.int32())])).combine_chunks()
    return ImageGroups(*(_one_array(members[name]) for name in ("path", "group")))


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _nodes(home: Home, space: EmbeddingSpace, groups: ImageGroups, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the usable images shard by shard, sorted by path in each."""
    for shard in home.shards:
        rows = usable_rows(home, space.id, shard, with_vectors="embedding" in schema.names)
        paths = rows["path"].to_pylist()
        columns = {
            **{name: rows[name] for name in rows.column_names},
            "group": groups.of(rows["path"]),
            "shard": pa.array([shard] * len(paths), pa.string()),
            "model": pa.array([space.id] * len(paths), pa.string()),
            **_shot_columns(rows),
        }
        if paths:
            yield pa.table([columns[name] for name in schema.names], schema=schema)


def _shot_columns(rows: pa.Table) -> dict[str, pa.Array | pa.ChunkedArray]:
    """Return dates as texts, and cameras; both null of a manifest of an earlier version."""
    if "taken" not in rows.column_names:
        return {name: pa.nulls(rows.num_rows, pa.string()) for name in ("taken", "camera")}
    dates = [None if date is None else date.isoformat() for date in rows["taken"].to_pylist()]
    return {"taken": pa.array(dates, pa.string()), "camera": rows["camera"]}


def _as_relationships(kind: RelationshipKind, columns: Mapping[str, pa.Array]) -> pa.Table:
    rows = len(columns["source"])
    columns = {**columns, "type": pa.array([kind.name] * rows, pa.string())}
    return pa.table(
        [columns.get(field.name, pa.nulls(rows, field.type)) for field in RELATIONSHIP_SCHEMA],
        schema=RELATIONSHIP_SCHEMA,
    )


@contextmanager
def _writers(
    folder: Path, form: str, nodes: pa.Schema, metadata: Mapping[str, str]
) -> Iterator[tuple[list[Path], Write, Write]]:
    """Open the files; yield their paths and the functions that write nodes and relationships, nodes first."""
    if form == GRAPHML:
        with _graphml(folder / "graph.graphml", nodes, metadata) as (write_nodes, write_relationships):
            yield [folder / "graph.graphml"], write_nodes, write_relationships
        return
    files = [folder / f"{name}.{form}" for name in ("nodes", "relationships")]
    with ExitStack() as stack:
        opened = [
            stack.enter_context(_table_writer(file, form, schema, metadata))
            for file, schema in zip(files, (nodes, RELATIONSHIP_SCHEMA), strict=True)
        ]
        yield files, opened[0].write_table, opened[1].write_table


def _table_writer(file: Path, form: str, schema: pa.Schema, metadata: Mapping[str, str]) -> AbstractContextManager[Any]:
    return tables.writer(file, schema, metadata) if form == PARQUET else _csv_writer(file, schema)


@contextmanager
def _csv_writer(file: Path, schema: pa.Schema) -> Iterator[pa_csv.CSVWriter]:
    with atomic_files.replacing(file) as temporary, pa_csv.CSVWriter(temporary, schema) as opened:
        yield opened


@contextmanager
def _graphml(file: Path, nodes: pa.Schema, metadata: Mapping[str, str]) -> Iterator[tuple[Write, Write]]:
    keys = [("graph", name, "string") for name in metadata]
    keys += [("node", field.name, _GRAPHML_TYPES[str(field.type)]) for field in nodes]
    ends = ("source", "target")
    keys += [
        ("edge", field.name, _GRAPHML_TYPES[str(field.type)]) for field in RELATIONSHIP_SCHEMA if field.name not in ends
    ]
    with atomic_files.replacing(file) as temporary, temporary.open("wb") as stream:
        xml = XMLGenerator(stream, encoding="utf-8", short_empty_elements=True)
        xml.startDocument()
        _start(xml, "graphml", {"xmlns": "http://graphml.graphdrawing.org/xmlns"})
        for place, name, kind in keys:
            attributes = {"id": f"{place}_{name}", "for": place, "attr.name": name, "attr.type": kind}
            _start(xml, "key", attributes)
            xml.endElement("key")
        _start(xml, "graph", {"edgedefault": "directed"})
        _data(xml, "graph", metadata)

        def write_nodes(table: pa.Table) -> None:
            for row in table.to_pylist():
                _element(xml, "node", {"id": row["path"]}, row)

        def write_relationships(table: pa.Table) -> None:
            for row in table.to_pylist():
                _element(xml, "edge", {name: row.pop(name) for name in ends}, row)

        yield write_nodes, write_relationships
        xml.endElement("graph")
        xml.endElement("graphml")
        xml.endDocument()


def _start(xml: XMLGenerator, name: str, attributes: Mapping[str, str]) -> None:
    xml.startElement(name, AttributesImpl(dict(attributes)))


def _element(xml: XMLGenerator, name: str, attributes: Mapping[str, str], row: Mapping[str, Any]) -> None:
    _start(xml, name, {key: xml_text(value) for key, value in attributes.items()})
    _data(xml, name, row)
    xml.endElement(name)
    xml.ignorableWhitespace("\n")


def _data(xml: XMLGenerator, place: str, row: Mapping[str, Any]) -> None:
    for key, value in row.items():
        if value is not None:
            _start(xml, "data", {"key": f"{place}_{key}"})
            xml.characters(xml_text(str(value)))
            xml.endElement("data")


def xml_text(text: str) -> str:
    r"""Return a text that XML can contain: other characters as \x0d, with backslashes doubled in such a text."""
    if not _NOT_XML.search(text):
        return text
    return _NOT_XML.sub(lambda match: f"\\x{ord(match[0]):02x}", text.replace("\\", "\\\\"))
