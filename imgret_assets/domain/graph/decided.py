"""Keeping the DECIDED relationships equal to the file of decisions.

Belongs here: which nodes a decision joins. Not here: writing the relationships (`domain.graph.relationship_sync`),
the file itself and what is in force (`domain.review.decisions`).

A decision is about contents, a relationship joins nodes: each joins the files it was made about or, where those have
moved, files with the same content. What is about a content that is no longer there has no relationship.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from imgret_assets.domain.duplicates.usable_images import load_usable_images
from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.graph_state import check_owner, check_space
from imgret_assets.domain.graph.relationship_sync import Ends, LinkKind, links_equal, sync_links
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.decisions import DUPLICATE, VERDICTS, Decision, Decisions, File
from imgret_assets.domain.storage import locks
from imgret_assets.domain.storage.home import Home

_LINKS = LinkKind("DECIDED", cypher.DECIDED_LINKS, "the decisions in force", "decisions are about")


@dataclass(frozen=True)
class DecidedReport:
    """What a refresh of DECIDED did: relationships by verdict; `created` and `deleted` as the server counted them.

    `absent` are decisions in force about images that are not in the graph.
    """

    verdicts: dict[str, int]
    absent: int
    created: int
    deleted: int
    seconds: float

    @property
    def relationships(self) -> int:
        """All of them."""
        return sum(self.verdicts.values())

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        there = f"{self.relationships:,} decisions about images of the graph"
        if not self.created and not self.deleted:
            return f"{there} are as the file of decisions says: nothing was written to Neo4j."
        return f"{there}: {self.created:,} created, {self.deleted:,} deleted in {self.seconds:.1f} s."


def sync_decisions(home: Home, database: Database, space: EmbeddingSpace) -> DecidedReport:
    """Make the DECIDED relationships equal to the decisions in force, by difference.

    From the smaller path to the larger, with the properties `verdict`, `at` (a date and time), `by` and, where one of
    the two is not needed, `keep`: the path of the other one. What somebody created, doubled, changed or removed by
    hand is repaired.

    Raises:
        TableError, StaleTableError: a shard's tables are missing, don't belong together, or are newer than the nodes.
        HomeError: the decisions can't be understood.
        ForeignDatabaseError: the database is another home's.
        LockTimeoutError: another run writes the graph.
    """
    with home.hold([locks.GRAPH], "writing DECIDED relationships"):
        started = time.monotonic()
        check_space(check_owner(database, home), space)
        wanted, absent, contents = _wanted(home, space.id)
        created, deleted = sync_links(database, _LINKS, wanted, contents)
        verdicts = {verdict: sum(row["verdict"] == verdict for row in wanted.values()) for verdict in VERDICTS}
        return DecidedReport(verdicts, absent, created, deleted, time.monotonic() - started)


def links_equal_decisions(home: Home, database: Database, space: str) -> Finding:
    """The DECIDED relationships are the decisions in force about images of the graph."""
    wanted, absent, _ = _wanted(home, space)
    return links_equal(database, _LINKS, wanted, "decisions", {"about_images_not_in_the_graph": absent})


def _wanted(home: Home, space: str) -> tuple[dict[Ends, dict[str, Any]], int, dict[str, str]]:
    """What `decided_links` says of the home's images, and the content of each path."""
    contents = {one.path: one.sha256 for one in load_usable_images(home, space)}
    return *decided_links(read_decisions(home), contents), contents


def decided_links(decisions: Decisions, contents: Mapping[str, str]) -> tuple[dict[Ends, dict[str, Any]], int]:
    """Properties of every relationship that should be there, by its two paths, the smaller first.

    Args:
        decisions: what is in force.
        contents: sha256 of each path that has a node.

    Returns:
        The properties, and how many decisions are about images that are not there.
    """
    files: dict[str, list[str]] = {}
    for path, sha in sorted(contents.items()):
        if decisions.concerns(sha):
            files.setdefault(sha, []).append(path)
    found: dict[Ends, dict[str, Any]] = {}
    absent = 0
    for decision in decisions.in_force():
        paths = _paths_now(decision, files)
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
        # Of several files with these two contents, what was decided last about any two of them.
        found[min(a, b), max(a, b)] = properties
    return found, absent


def _paths_now(decision: Decision, files: Mapping[str, Sequence[str]]) -> Ends | None:
    """Where the two images of a decision are now; None where one is not there."""
    a, b = decision.pair
    if a.sha256 != b.sha256:
        one, other = _where(a, files), _where(b, files)
        return None if one is None or other is None else (one, other)
    here = files.get(a.sha256, ())
    # Which of several files with the same bytes has moved where can't be known, and matters where one is not needed.
    strangers = [path for path in here if path not in (a.path, b.path)]
    missing = [path for path in (a.path, b.path) if path not in here]
    if len(missing) > len(strangers) or (missing and decision.verdict == DUPLICATE):
        return None
    moved = dict(zip(missing, strangers, strict=False))
    return moved.get(a.path, a.path), moved.get(b.path, b.path)


def _where(file: File, files: Mapping[str, Sequence[str]]) -> str | None:
    here = files.get(file.sha256, ())
    return file.path if file.path in here else next(iter(here), None)
