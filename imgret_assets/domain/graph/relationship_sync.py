"""Relationships between images that are kept equal to what is written elsewhere, by difference.

Belongs here: comparing them with the database, writing what differs. Not here: which there should be
(`domain.graph.duplicate_of`, `domain.graph.decided`), statements (`domain.graph.cypher`), SIMILAR_TO, of which there
are far more (`domain.graph.image_nodes`).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.errors import DatabaseError, StaleTableError

ROWS = 10_000
Ends = tuple[str, str]
Links = Mapping[Ends, Mapping[str, Any]]


@dataclass(frozen=True)
class LinkKind:
    """A kind of relationship.

    Attributes:
        name: as Neo4j has it.
        statements: on all of its kind.
        source: what there should be, in words, such as `the rows of the duplicates table`.
        belong: how one says whose images these are, such as `copies belong to`.
    """

    name: str
    statements: cypher.LinkStatements
    source: str
    belong: str


def sync_links(
    database: Database,
    kind: LinkKind,
    wanted: Links,
    contents: Mapping[str, str],
    *,
    writing: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> tuple[int, int]:
    """Make the relationships of a kind equal to those that are wanted.

    Args:
        database: the graph.
        kind: which relationships.
        wanted: properties of every relationship that should be there, by its two paths, in its direction.
        contents: sha256 of each path; a relationship is written only between nodes that have it.
        writing: held while something is written, and not entered where nothing is.

    Returns:
        How many were created and deleted, as the server counted them.

    Raises:
        StaleTableError: a node has another content.
        DatabaseError: afterwards there are not as many as there should be.
    """
    right, wrong = compare_links(database, kind, wanted)
    lacking = [ends for ends in wanted if ends not in right]
    created = deleted = 0
    if wrong or lacking:
        with writing():
            deleted = sum(
                database.write((kind.statements.delete, {"ids": part}))[0][0].relationships_deleted
                for part in batches(wrong, ROWS)
            )
            created = sum(_write(database, kind, part, wanted, contents) for part in batches(lacking, ROWS))
    total = database.rows(kind.statements.count)[0]["relationships"]
    if total != len(wanted):
        raise DatabaseError(
            f"The database holds {total:,} {kind.name} relationships after writing",
            expected=f"{len(wanted):,}, {kind.source}",
            remedy="something else writes there; stop it and run again",
        )
    return created, deleted


def compare_links(database: Database, kind: LinkKind, wanted: Links) -> tuple[set[Ends], list[str]]:
    """Which of the wanted are there, and ids of those that should not be."""
    right: set[Ends] = set()
    wrong: list[str] = []
    for row in database.stream(kind.statements.read):
        ends = (row["a"], row["b"])
        if _native(row["properties"]) == wanted.get(ends) and ends not in right:
            right.add(ends)
        else:
            wrong.append(row["id"])
    return right, wrong


def links_equal(
    database: Database, kind: LinkKind, wanted: Links, things: str, facts: Mapping[str, Any] | None = None
) -> Finding:
    """Whether the relationships of a kind are those that are wanted; `things` is what each of them says."""
    right, wrong = compare_links(database, kind, wanted)
    missing = len(wanted) - len(right)
    passed = not (missing or wrong)
    return Finding(
        passed,
        f"{len(wanted):,} {things}, " + ("each with its relationship" if passed else "but other relationships"),
        {things: len(wanted), "missing": missing, "extra_or_different": len(wrong), **(facts or {})},
    )


def _native(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Properties with Python's date and time for the driver's own."""
    return {key: value.to_native() if hasattr(value, "to_native") else value for key, value in properties.items()}


def _write(database: Database, kind: LinkKind, part: Sequence[Ends], wanted: Links, contents: Mapping[str, str]) -> int:
    rows = [
        {"a": a, "b": b, "sha_a": contents.get(a), "sha_b": contents.get(b), "properties": dict(wanted[a, b])}
        for a, b in part
    ]
    [(counters, [answer])] = database.write((kind.statements.write, {"rows": rows}))
    if answer["written"] != len(rows):
        raise StaleTableError(
            f"{len(rows) - answer['written']:,} {kind.belong} images whose nodes have another content",
            remedy="materialise `image_nodes` for all shards, or run `imgret run`",
        )
    return counters.relationships_created
