"""The table module of DECIDED: relationships from the file of decisions.

Belongs here: which nodes a decision relates, and the rows of an export. Not here: writing the relationships
(`domain.graph.relationship_sync`), the file itself and which decisions are in force (`domain.review.decisions`).

A decision is about contents, a relationship is between nodes. Each relates the files that were decided about or, where
those have moved, files with the same content. A decision about a content that is no longer in the library has no
relationship.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from imgret_assets.domain.duplicates.usable_images import load_usable_images
from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.embeddings.table_reader import Listing
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.relationship_kinds import DECIDED
from imgret_assets.domain.graph.relationship_sync import (
    ExpectedRelationships,
    PathPair,
    RelationshipsReport,
    check_kind,
    sync_kind,
)
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.decisions import DUPLICATE, VERDICTS, Decision, Decisions, File
from imgret_assets.domain.storage.home import Home

# Count of decisions in force about images that are not in the graph.
ABSENT = "decisions_without_nodes"


def sync_relationships(home: Home, database: Database, space: EmbeddingSpace) -> RelationshipsReport:
    """Make the DECIDED relationships equal to the decisions in force, by difference.

    They go from the smaller path to the larger, with the properties `verdict`, `at` (a date and time), `by` and, where
    one of the two images is a duplicate, `keep`: the path of the other one. The report counts the relationships of each
    verdict, and the decisions about images that are not in the graph.

    Raises what `sync_kind` raises, and HomeError if the decisions can't be read.
    """
    return sync_kind(home, database, space, DECIDED, expected_relationships)


def check_relationships(home: Home, database: Database, space: str) -> Finding:
    """Compare the DECIDED relationships with the decisions in force."""
    return check_kind(database, DECIDED, expected_relationships(home, space))


def expected_relationships(home: Home, space: str) -> ExpectedRelationships:
    """Read the relationships that the decisions in force call for.

    Raises:
        TableError, StaleTableError: a shard's tables are missing or don't belong together.
        HomeError: the decisions can't be read.
    """
    contents = {image.path: image.sha256 for image in load_usable_images(home, space)}
    return relate_decisions(read_decisions(home), contents)


def exported_rows(home: Home, space: str, listing: Listing) -> Iterator[Mapping[str, pa.Array]]:
    """Return the decisions in force about the images of the listing, in one part.

    Raises:
        HomeError: the decisions can't be read.
    """
    del space
    decisions = read_decisions(home)
    if not any(True for _ in decisions.in_force()):
        # Without the contents of all images, which take memory.
        return iter([])
    contents = {path: vector_key.partition(" ")[0] for path, vector_key in listing.key_of.items()}
    properties = relate_decisions(decisions, contents).properties
    pairs = sorted(properties)
    columns: dict[str, Any] = {
        name: pa.array([properties[pair].get(name) for pair in pairs], pa.string())
        for name in ("verdict", "by", "keep")
    }
    columns |= {
        name: pa.array([pair[place] for pair in pairs], pa.string()) for place, name in enumerate(("source", "target"))
    }
    columns["at"] = pa.array([properties[pair]["at"].isoformat() for pair in pairs], pa.string())
    return iter([columns] if pairs else [])


def relate_decisions(decisions: Decisions, contents: Mapping[str, str]) -> ExpectedRelationships:
    """Return the relationships of the decisions in force, each from the smaller path to the larger.

    Args:
        decisions: the decisions in force.
        contents: sha256 of each path that has a node.
    """
    files: dict[str, list[str]] = {}
    for path, sha in sorted(contents.items()):
        if decisions.concerns(sha):
            files.setdefault(sha, []).append(path)
    relationships: dict[PathPair, dict[str, Any]] = {}
    absent = 0
    for decision in decisions.in_force():
        paths = _current_paths(decision, files)
        if paths is None:
            absent += 1
            continue
        a, b = paths
        properties = {
            "verdict": decision.verdict,
            "at": datetime.fromisoformat(decision.at),
            "by": decision.by,
        }
        if decision.verdict == DUPLICATE:
            properties["keep"] = a if decision.kept_and_duplicate[0] == decision.pair[0] else b
        # Several files may have these two contents: the last decision about any two of them counts.
        relationships[min(a, b), max(a, b)] = properties
    counts = {verdict: sum(row["verdict"] == verdict for row in relationships.values()) for verdict in VERDICTS}
    return ExpectedRelationships(relationships, contents, counts | {ABSENT: absent})


def _current_paths(decision: Decision, files: Mapping[str, Sequence[str]]) -> PathPair | None:
    """Return where the two images of a decision are now; None if one of them is absent."""
    a, b = decision.pair
    if a.sha256 != b.sha256:
        path_a, path_b = _current_path(a, files), _current_path(b, files)
        return None if path_a is None or path_b is None else (path_a, path_b)
    current = files.get(a.sha256, ())
    # Both files had the same bytes. Which of the files with these bytes was moved where can't be known, and matters
    # where one of the two is a duplicate.
    new_paths = [path for path in current if path not in (a.path, b.path)]
    missing = [path for path in (a.path, b.path) if path not in current]
    if len(missing) > len(new_paths) or (missing and decision.verdict == DUPLICATE):
        return None
    moved = dict(zip(missing, new_paths, strict=False))
    return moved.get(a.path, a.path), moved.get(b.path, b.path)


def _current_path(file: File, files: Mapping[str, Sequence[str]]) -> str | None:
    current = files.get(file.sha256, ())
    return file.path if file.path in current else next(iter(current), None)
