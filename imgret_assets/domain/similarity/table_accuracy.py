"""Whether the tables of pairs and of nearest neighbours are exact, for checks and for people.

Belongs here: the check of their recall, the sentences about approximate tables. Not here: measuring the recall
(`domain.similarity.approximate.recall`), the fields in the tables (`domain.storage.table_metadata`).
"""

from contextlib import suppress
from dataclasses import asdict

from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.similarity.approximate.recall import CONFIDENCE, LEAST_RECALL, is_enough
from imgret_assets.domain.storage.derived_tables import NEAREST, PAIRS, DerivedTable
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.table_metadata import ComparedMetadata
from imgret_assets.errors import TableError

COMPARED_TABLES: tuple[DerivedTable[ComparedMetadata], ...] = (PAIRS, NEAREST)  # type: ignore[assignment]


def accuracy_facts(metadata: ComparedMetadata | None) -> dict[str, bool | int | float | str]:
    """Return whether a table is exact, and of an approximate one how it was searched and its recall, by name."""
    if metadata is None:
        return {}
    names = ("exact", "probes", "cells", "recall", "recall_at_least", "recall_images")
    values = {name: value for name, value in asdict(metadata).items() if name in names and value is not None}
    return values if metadata.exact else values | {"search": metadata.search, "accuracy": metadata.caveat}


def check_recall(home: Home, space: str, *, table: DerivedTable[ComparedMetadata]) -> Finding:
    """Check that a table is exact, or that the lower limit of its recall is high enough.

    Raises:
        TableError: the table is missing or damaged.
    """
    table.require(home.warehouse, space)
    metadata = table.metadata(home.warehouse, space)
    if metadata is None or metadata.exact:
        return Finding(True, "exact: no row is missing", accuracy_facts(metadata))
    passed = is_enough(metadata)
    remedy = (
        ""
        if passed
        else f" Expected: at least {LEAST_RECALL:.0%} with {CONFIDENCE:.0%} confidence. "
        + ("What to do: raise IMGRET_PROBES, or take IMGRET_PAIR_SEARCH=cascade, which is exact.")
    )
    return Finding(passed, metadata.caveat + remedy, accuracy_facts(metadata))


def caveats(home: Home, space: str) -> list[str]:
    """Return a sentence about each approximate table; nothing about missing and damaged tables."""
    found = []
    for table in COMPARED_TABLES:
        with suppress(TableError):
            metadata = table.metadata(home.warehouse, space)
            if metadata is not None and not metadata.exact:
                found.append(f"{table.title[:1].upper()}{table.title[1:]}. {metadata.caveat}")
    return found
