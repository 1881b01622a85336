"""The table module of a fourth kind of relationship, SAME_CAMERA.

Belongs here: what a contributor writes for a new kind. Not here: its entry of the list of kinds
(`imgret_tests.support.same_camera_kind`), its asset (`imgret_tests.support.same_camera_process`).
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.embeddings.table_reader import Listing
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.relationship_sync import (
    ExpectedRelationships,
    RelationshipsReport,
    check_kind,
    sync_kind,
)
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.same_camera_kind import SAME_CAMERA


def cameras_path(home: Home) -> Path:
    return home.warehouse / "cameras.parquet"


def sync_relationships(home: Home, database: Database, space: EmbeddingSpace) -> RelationshipsReport:
    return sync_kind(home, database, space, SAME_CAMERA, expected_relationships)


def check_relationships(home: Home, database: Database, space: str) -> Finding:
    return check_kind(database, SAME_CAMERA, expected_relationships(home, space))


def expected_relationships(home: Home, space: str) -> ExpectedRelationships:
    """Return a chain through the images of each camera."""
    del space
    rows = tables.read(cameras_path(home)).to_pylist()
    images: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: row["path"]):
        images.setdefault(row["camera"], []).append(row["path"])
    properties = {pair: {"camera": camera} for camera, paths in images.items() for pair in pairwise(paths)}
    return ExpectedRelationships(properties, {row["path"]: row["sha256"] for row in rows})


def exported_rows(home: Home, space: str, listing: Listing) -> Iterator[Mapping[str, pa.Array]]:
    del listing
    expected = expected_relationships(home, space).properties
    columns = {
        "source": [source for source, _ in expected],
        "target": [target for _, target in expected],
        "camera": [properties["camera"] for properties in expected.values()],
    }
    return iter([{name: pa.array(values, pa.string()) for name, values in columns.items()}])
