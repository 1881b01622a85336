"""The tables that are made from the embeddings, and the check that they are current.

Belongs here: the list of these tables with their assets, and the comparison of a table's coverage with that of the
embeddings. Not here: the coverage of the embeddings (`domain.embeddings.table_reader`), the rows of the tables
(`domain.similarity`, `domain.duplicates`, `domain.analysis`).

A table is current where it was made from the embeddings as they are now: its metadata names the same embedding space
and the same coverage, a hash of all paths and of the vector that each has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.table_metadata import (
    DerivedMetadata,
    DuplicatesMetadata,
    GroupsMetadata,
    MapMetadata,
    NearestMetadata,
    PairsMetadata,
    ThresholdsMetadata,
)
from imgret_assets.errors import StaleTableError

Metadata = TypeVar("Metadata", bound=DerivedMetadata)


@dataclass(frozen=True)
class DerivedTable(Generic[Metadata]):
    """A table that is made from the embeddings of one space.

    Attributes:
        asset: name of the asset that makes it.
        title: name of the table in messages, such as `pairs table`.
        path: function of warehouse and space id that gives the file.
        metadata_type: record of the file's metadata.
    """

    asset: str
    title: str
    path: Callable[[Path, str], Path]
    metadata_type: type[Metadata]

    def require(self, warehouse: Path, space: str) -> Path:
        """Return the table's file.

        Raises:
            TableError: the file is missing.
        """
        return tables.require(self.path(warehouse, space), f"The {self.title}", self.asset)

    def metadata(self, warehouse: Path, space: str) -> Metadata | None:
        """Read the table's metadata; None where the table is missing or another version of the program wrote it.

        Raises:
            TableError: the file is damaged.
        """
        path = self.path(warehouse, space)
        return self.metadata_type.from_metadata(tables.read_metadata(path)) if path.is_file() else None

    def current_metadata(self, warehouse: Path, space: str, coverage: str) -> Metadata | None:
        """Read the table's metadata if the table was made from the embeddings with this coverage; else return None.

        Raises:
            TableError: the file is damaged.
        """
        metadata = self.metadata(warehouse, space)
        return metadata if metadata and (metadata.space, metadata.coverage) == (space, coverage) else None

    def require_current(self, warehouse: Path, space: str, coverage: str) -> Metadata:
        """Return the table's metadata after checking that the table was made from the embeddings with this coverage.

        Raises:
            TableError: the table is missing or damaged.
            StaleTableError: the table was made from other embeddings.
        """
        self.require(warehouse, space)
        metadata = self.current_metadata(warehouse, space, coverage)
        if metadata is None:
            raise self.stale()
        return metadata

    def stale(self) -> StaleTableError:
        """Return the error for a table that was made from other embeddings."""
        return StaleTableError(
            f"The {self.title} is older than the embeddings",
            remedy=f"materialise `{self.asset}`, or run `imgret run`",
        )


def _duplicates_path(warehouse: Path, space: str) -> Path:
    del space  # there is one duplicates table for all spaces
    return tables.duplicates_path(warehouse)


PAIRS = DerivedTable("similarity_pairs", "pairs table", tables.pairs_path, PairsMetadata)
NEAREST = DerivedTable("nearest_neighbours", "nearest neighbours table", tables.nearest_path, NearestMetadata)
DUPLICATES = DerivedTable("duplicates", "duplicates table", _duplicates_path, DuplicatesMetadata)
GROUPS = DerivedTable("image_groups", "groups table", tables.groups_path, GroupsMetadata)
MAP = DerivedTable("image_map", "map table", tables.map_path, MapMetadata)
THRESHOLDS = DerivedTable("similarity_report", "thresholds table", tables.thresholds_path, ThresholdsMetadata)

DERIVED_TABLES: tuple[DerivedTable[Any], ...] = (PAIRS, NEAREST, DUPLICATES, GROUPS, MAP, THRESHOLDS)
