"""Relationships of one kind, kept equal to their source by difference.

Belongs here: the interface of a kind's table module, comparing relationships with the database, writing what differs.
Not here: which relationships there should be (`domain.graph.duplicate_of`, `domain.graph.decided`), statements
(`domain.graph.cypher`), the list of kinds (`domain.graph.relationship_kinds`), writing SIMILAR_TO, which has too many
relationships for one dictionary of properties each (`domain.graph.similar_to`).
"""

import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import pyarrow as pa

from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.embeddings.table_reader import Listing
from imgret_assets.domain.graph import cypher, limits
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.graph_record import recorded
from imgret_assets.domain.graph.graph_state import check_owner, check_space, refreshing
from imgret_assets.domain.graph.relationship_kinds import RelationshipKind
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.storage import locks
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError, StaleTableError

ROWS = 10_000
# Rows of an exported table that are in memory at a time.
EXPORT_ROWS = 1 << 16
PathPair = tuple[str, str]


@dataclass(frozen=True)
class ExpectedRelationships:
    """The relationships of one kind that should be in the graph.

    Attributes:
        properties: the properties of each relationship by its two paths, in its direction.
        contents: sha256 of each path; a relationship is written only between nodes that have these contents.
        counts: what reports and checks say about them, by name.
    """

    properties: Mapping[PathPair, Mapping[str, Any]]
    contents: Mapping[str, str]
    counts: Mapping[str, int] = field(default_factory=dict)


ReadExpected = Callable[[Home, str], ExpectedRelationships]


@dataclass(frozen=True)
class RelationshipsReport:
    """What a refresh of one kind did: `created` and `deleted` as the server counted them, other `counts` by name."""

    kind: str
    relationships: int
    created: int
    deleted: int
    seconds: float
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The result in one line."""
        if not self.created and not self.deleted:
            return f"{self.relationships:,} {self.kind} relationships are up to date: nothing was written to Neo4j."
        return (
            f"{self.relationships:,} {self.kind} relationships: {self.created:,} created, {self.deleted:,} deleted "
            f"in {self.seconds:.1f} s."
        )


class RelationshipTable(Protocol):
    """What the table module of a relationship kind implements, as functions of the module."""

    def sync_relationships(self, home: Home, database: Database, space: EmbeddingSpace) -> RelationshipsReport:
        """Make the graph's relationships equal to their source, by difference."""
        ...

    def check_relationships(self, home: Home, database: Database, space: str) -> Finding:
        """Compare the graph's relationships with their source."""
        ...

    def exported_rows(self, home: Home, space: str, listing: Listing) -> Iterator[Mapping[str, pa.Array]] | None:
        """Return the kind's rows for an export, in parts, or None if there is no up-to-date source.

        Args:
            home: the home.
            space: id of the embedding space.
            listing: the images that are exported.

        Returns:
            parts of `source`, `target` and the kind's `export_columns`.

        Raises:
            TableError, StaleTableError: the kind must not be left out, and its table is missing or older than the
                embeddings.
        """
        ...


def table_of(kind: RelationshipKind) -> RelationshipTable:
    """Return a kind's table module.

    It is imported here and not by the list of kinds, which the query command loads at every start.
    """
    return cast("RelationshipTable", importlib.import_module(kind.table_module))


def sync_kind(
    home: Home, database: Database, space: EmbeddingSpace, kind: RelationshipKind, read_expected: ReadExpected
) -> RelationshipsReport:
    """Make the relationships of a kind equal to the expected ones, by difference.

    Relationships that were created, duplicated, changed or deleted by hand are repaired.

    Args:
        home: the home.
        database: the graph.
        space: the embedding space in use.
        kind: which relationships.
        read_expected: reads the relationships that should be there.

    Raises:
        TableError: the source is missing, or holds what must not reach the graph.
        StaleTableError: source or nodes are older than the embeddings, or the graph holds another space.
        DatabaseError: the relationships are more than the database may hold, or afterwards their number is not the
            expected one.
        ForeignDatabaseError: the database belongs to another home.
        LockTimeoutError: another run writes the graph.
    """
    with home.hold([locks.GRAPH], f"writing {kind.name} relationships"), recorded(home, space.id, [kind.asset]):
        started = time.monotonic()
        state = check_space(check_owner(database, home), space)
        expected = read_expected(home, space.id)
        _require_listed_properties(kind, expected)
        limits.check_relationships(home, database, kind, len(expected.properties))
        present, extra_ids = _compare(database, kind, expected)
        missing = [ends for ends in expected.properties if ends not in present]
        created = deleted = 0
        if extra_ids or missing:
            # Kinds that are not shown leave answers and views as they are, so the graph stays ready.
            with nullcontext() if kind.line is None else refreshing(home, database, state):
                deleted = delete_relationships(database, kind, extra_ids)
                created = sum(_write(database, kind, part, expected) for part in batches(missing, ROWS))
        require_count(database, kind, cypher.RELATIONSHIPS[kind.name].count, len(expected.properties))
        seconds = time.monotonic() - started
        return RelationshipsReport(kind.name, len(expected.properties), created, deleted, seconds, expected.counts)


def check_kind(database: Database, kind: RelationshipKind, expected: ExpectedRelationships) -> Finding:
    """Compare the relationships of a kind with the expected ones."""
    present, extra_ids = _compare(database, kind, expected)
    missing = len(expected.properties) - len(present)
    passed = not (missing or extra_ids)
    result = "all in the graph" if passed else f"{missing:,} missing, {len(extra_ids):,} extra or different"
    return Finding(
        passed,
        f"{len(expected.properties):,} {kind.name} relationships expected, {result}",
        {
            "expected": len(expected.properties),
            "missing": missing,
            "extra_or_different": len(extra_ids),
            **expected.counts,
        },
    )


def delete_relationships(database: Database, kind: RelationshipKind, ids: Sequence[str]) -> int:
    """Delete relationships of a kind by the server's ids; return how many the server deleted."""
    statement = cypher.RELATIONSHIPS[kind.name].delete
    return sum(database.write((statement, {"ids": part}))[0][0].relationships_deleted for part in batches(ids, ROWS))


def require_count(database: Database, kind: RelationshipKind, statement: str, expected: int) -> None:
    """Raise an error unless the database holds the expected number of relationships of a kind.

    Raises:
        DatabaseError: something else writes to the database.
    """
    total = database.rows(statement)[0]["relationships"]
    if total != expected:
        raise DatabaseError(
            f"The database holds {total:,} {kind.name} relationships after writing",
            expected=f"{expected:,}, {kind.source}",
            remedy="another program writes there; stop it and run again",
        )


def _require_listed_properties(kind: RelationshipKind, expected: ExpectedRelationships) -> None:
    names = {name for properties in expected.properties.values() for name in properties}
    if unlisted := sorted(names - kind.properties.keys()):
        raise ValueError(f"{kind.table_module} writes properties that {kind.name} does not list: {unlisted}")


def _compare(
    database: Database, kind: RelationshipKind, expected: ExpectedRelationships
) -> tuple[set[PathPair], list[str]]:
    """Return the expected relationships that are in the graph, and the ids of all others of the kind."""
    present: set[PathPair] = set()
    extra_ids: list[str] = []
    for row in database.stream(cypher.RELATIONSHIPS[kind.name].read):
        ends = (row["a"], row["b"])
        # The second of two equal relationships is an extra one.
        if _to_python(row["properties"]) == expected.properties.get(ends) and ends not in present:
            present.add(ends)
        else:
            extra_ids.append(row["id"])
    return present, extra_ids


def _to_python(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties with Python's date and time in place of the driver's own."""
    return {key: value.to_native() if hasattr(value, "to_native") else value for key, value in properties.items()}


def _write(
    database: Database, kind: RelationshipKind, part: Sequence[PathPair], expected: ExpectedRelationships
) -> int:
    """Write some of the expected relationships in one transaction; return how many were created.

    Raises:
        StaleTableError: a node has another content.
    """
    rows = [
        {
            "a": a,
            "b": b,
            "sha_a": expected.contents.get(a),
            "sha_b": expected.contents.get(b),
            "properties": dict(expected.properties[a, b]),
        }
        for a, b in part
    ]
    [(counters, [answer])] = database.write((cypher.RELATIONSHIPS[kind.name].write, {"rows": rows}))
    if answer["written"] != len(rows):
        raise StaleTableError(
            f"{len(rows) - answer['written']:,} {kind.name} relationships are between images whose nodes have another "
            "content",
            remedy="materialise `image_nodes` for all shards, or run `imgret run`",
        )
    return counters.relationships_created
