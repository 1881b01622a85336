"""The graph as files for other programs, from the tables and the decisions: no database is needed.

Belongs here: what a node and a relationship are in a file, parquet, CSV and GraphML. Not here: the tables
(`domain.storage.tables`), the graph in Neo4j (`domain.graph.image_nodes`).

GraphML is that of http://graphml.graphdrawing.org (2002 primer), directed, nodes named by their paths. Rows are read
and written in parts, so the graph need not fit into memory.
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
import pyarrow.csv as pa_csv

from imgret_assets.domain.embeddings.table_reader import check_shard, coverage_of, vector_keys
from imgret_assets.domain.graph.decided import decided_links
from imgret_assets.domain.images.decode import Status
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.storage import atomic_files, tables
from imgret_assets.domain.storage.derived_tables import DUPLICATES, GROUPS, PAIRS
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import SettingError

PARQUET, CSV, GRAPHML = FORMATS = ("parquet", "csv", "graphml")
SIMILAR_TO, DUPLICATE_OF, DECIDED = "SIMILAR_TO", "DUPLICATE_OF", "DECIDED"
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
        ("shard", pa.string()),
        ("model", pa.string()),
        ("engine", pa.string()),
    ]
)
RELATIONSHIP_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("target", pa.string()),
        ("type", pa.string()),
        ("score", pa.float64()),
        ("kind", pa.string()),
        ("distance", pa.int32()),
        ("reason", pa.string()),
        ("verdict", pa.string()),
        ("keep", pa.string()),
        ("by", pa.string()),
        ("at", pa.string()),
    ]
)
_PART_ROWS = 1 << 16
_SCHEMA_VERSION = "2"
# What XML 1.0 can't hold even as a character reference, and the carriage return, which readers make a line feed.
_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GRAPHML_TYPES = {"int64": "long", "int32": "int", "double": "double", "string": "string"}
Write = Callable[[pa.Table], None]


@dataclass(frozen=True)
class Export:
    """What was written: the files, the nodes, the relationships of each type, and what was left out and why."""

    files: list[Path]
    nodes: int
    relationships: dict[str, int]
    notes: list[str]


def export_graph(home: Home, space: EmbeddingSpace, folder: Path, form: str, *, vectors: bool = False) -> Export:
    """Write all usable images and what relates them.

    `nodes` and `relationships` are two files, or with `graphml` the one file `graph.graphml`; each appears whole. A
    relationship of type SIMILAR_TO or DECIDED goes from the smaller path to the larger, one of type DUPLICATE_OF from
    the copy to the one to keep; `score` is the raw cosine, null for exact copies; `at` is a date and time, ISO 8601.

    Args:
        home: the home.
        space: of the vectors, pairs and groups.
        folder: is made where it is missing; files of the same names are replaced.
        form: one of `FORMATS`.
        vectors: also write each node's `embedding`, float32 (dim,) as stored; parquet only.

    Raises:
        SettingError: the format is unknown, or can't hold vectors.
        TableError, StaleTableError: tables are missing or don't belong together.
        HomeError: the decisions can't be understood, or the files can't be written.
        DiskFullError: there is no room for the files.
    """
    if form not in FORMATS:
        raise SettingError(f"format is {form!r}", expected=" or ".join(FORMATS))
    if vectors and form != PARQUET:
        raise SettingError(f"Vectors were asked for as {form}", expected="parquet, which can hold them")
    paths, contents = _keys(home, space)
    coverage = coverage_of(paths, contents)
    threshold = PAIRS.require_current(home.warehouse, space.id, coverage).threshold
    pairs = tables.pairs_path(home.warehouse, space.id)
    notes: list[str] = []
    groups = _groups(home, space, coverage, notes)
    copies = _duplicates(home, space, coverage, notes)
    decided = _decided(home, dict(zip(paths, (content.partition(" ")[0] for content in contents), strict=True)))
    metadata = {
        "schema": _SCHEMA_VERSION,
        "model": space.id,
        "metric": "cosine",
        "threshold": repr(threshold),
    }
    node_schema = NODE_SCHEMA
    if vectors:
        node_schema = node_schema.append(pa.field("embedding", pa.list_(pa.float32(), space.dim)))
    counts = {SIMILAR_TO: 0, DUPLICATE_OF: 0, DECIDED: decided.num_rows}
    nodes = 0
    with _writers(folder, form, node_schema, metadata) as (files, write_nodes, write_relationships):
        for table in _nodes(home, space, groups, node_schema):
            nodes += table.num_rows
            write_nodes(table)
        for kind, table in _relationships(pairs, copies):
            counts[kind] += table.num_rows
            write_relationships(table)
        if decided.num_rows:
            write_relationships(decided)
    return Export(files, nodes, counts, notes)


def _keys(home: Home, space: EmbeddingSpace) -> tuple[list[str], list[str]]:
    paths: list[str] = []
    contents: list[str] = []
    for shard in home.shards:
        table = check_shard(home, space.id, shard, columns=["path", "sha256", "engine", "status"])
        usable = tables.where_equal(table, "status", Status.OK)
        paths += usable["path"].to_pylist()
        contents += vector_keys(usable)
    return paths, contents


def _groups(home: Home, space: EmbeddingSpace, coverage: str, notes: list[str]) -> dict[str, str]:
    """The group of every image that has one."""
    if GROUPS.current_metadata(home.warehouse, space.id, coverage) is None:
        notes.append("groups are left out: there are none of these embeddings (asset `image_groups`)")
        return {}
    rows = tables.read(tables.groups_path(home.warehouse, space.id), ["path", "group", "size"]).to_pydict()
    members = zip(rows["path"], rows["group"], rows["size"], strict=True)
    return {name: group for name, group, size in members if size > 1}


def _duplicates(home: Home, space: EmbeddingSpace, coverage: str, notes: list[str]) -> Path | None:
    if DUPLICATES.current_metadata(home.warehouse, space.id, coverage):
        return tables.duplicates_path(home.warehouse)
    notes.append("duplicates are left out: there are none of these embeddings (asset `duplicates`)")
    return None


def _decided(home: Home, contents: Mapping[str, str]) -> pa.Table:
    """What people have decided and is in force, of the images there are; `contents` is the sha256 of each."""
    links, _ = decided_links(read_decisions(home), contents)
    ends = sorted(links)
    given: dict[str, pa.Array] = {
        name: pa.array([links[pair].get(name) for pair in ends], pa.string()) for name in ("verdict", "by", "keep")
    }
    given |= {
        name: pa.array([pair[place] for pair in ends], pa.string()) for place, name in enumerate(("source", "target"))
    }
    given["at"] = pa.array([links[pair]["at"].isoformat() for pair in ends], pa.string())
    return _as_relationships(DECIDED, given, len(ends))


def _nodes(home: Home, space: EmbeddingSpace, groups: Mapping[str, str], schema: pa.Schema) -> Iterator[pa.Table]:
    """Usable images, shard by shard, sorted by path in each."""
    wanted = ["path", "sha256", "engine", "status", *(["embedding"] if "embedding" in schema.names else [])]
    for shard in home.shards:
        embedded = tables.where_equal(check_shard(home, space.id, shard, columns=wanted), "status", Status.OK)
        listed = tables.read(
            tables.manifest_path(home.warehouse, shard),
            ["path", "label", "sha256", "bytes", "width", "height", "format", "status"],
        )
        row_of = {path: row for row, path in enumerate(listed["path"].to_pylist())}
        paths = embedded["path"].to_pylist()
        facts = listed.take(pa.array([row_of[path] for path in paths], pa.int64()))
        columns = {
            **{name: facts[name] for name in ("path", "label", "sha256", "bytes", "width", "height", "format")},
            "group": pa.array([groups.get(path) for path in paths], pa.string()),
            "shard": pa.array([shard] * len(paths), pa.string()),
            "model": pa.array([space.id] * len(paths), pa.string()),
            "engine": embedded["engine"],
        }
        if "embedding" in schema.names:
            columns["embedding"] = embedded["embedding"]
        if paths:
            yield pa.table([columns[name] for name in schema.names], schema=schema)


def _relationships(pairs: Path, copies: Path | None) -> Iterator[tuple[str, pa.Table]]:
    """Parts of one type each, and that type."""
    with tables.open_parquet(pairs) as file:
        for batch in file.iter_batches(_PART_ROWS):
            given = {"source": batch["path_a"], "target": batch["path_b"], "score": batch["score"]}
            yield SIMILAR_TO, _as_relationships(SIMILAR_TO, given, batch.num_rows)
    if copies is None:
        return
    with tables.open_parquet(copies) as file:
        for batch in file.iter_batches(_PART_ROWS):
            given = {name: batch[name] for name in ("kind", "distance", "reason")}
            given |= {"source": batch["path_from"], "target": batch["path_keep"], "score": batch["cosine"]}
            yield DUPLICATE_OF, _as_relationships(DUPLICATE_OF, given, batch.num_rows)


def _as_relationships(kind: str, given: dict[str, pa.Array], rows: int) -> pa.Table:
    columns = {**given, "type": pa.array([kind] * rows, pa.string())}
    return pa.table(
        [columns.get(field.name, pa.nulls(rows, field.type)) for field in RELATIONSHIP_SCHEMA],
        schema=RELATIONSHIP_SCHEMA,
    )


@contextmanager
def _writers(
    folder: Path, form: str, nodes: pa.Schema, metadata: Mapping[str, str]
) -> Iterator[tuple[list[Path], Write, Write]]:
    """The files that are written, and what writes nodes and relationships; nodes come first."""
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
            said = {"id": f"{place}_{name}", "for": place, "attr.name": name, "attr.type": kind}
            _start(xml, "key", said)
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
    r"""A text that XML can hold: what it can't as \x0d, and in such a text backslashes doubled."""
    if not _NOT_XML.search(text):
        return text
    return _NOT_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\\", "\\\\"))
