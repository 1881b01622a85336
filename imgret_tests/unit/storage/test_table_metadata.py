"""Tests of the metadata records: their keys on disk, exact numbers, and files of another version."""

import pytest

from imgret_assets.domain.storage.table_metadata import (
    DuplicatesMetadata,
    EmbeddingsMetadata,
    GroupsMetadata,
    ManifestMetadata,
    NearestMetadata,
    PairsMetadata,
    TableMetadata,
    ThresholdsMetadata,
)

# Keys and texts as homes have them: a change here makes every existing home compute its tables again.
EXACT = {"exact": "True", "method": ""} | dict.fromkeys(
    ("probes", "cells", "recall", "recall_at_least", "recall_images"), "None"
)
ON_DISK = [
    (
        PairsMetadata(space="m-1", coverage="c", threshold=0.1 + 0.2, images=3, max_neighbours=None, cut=2),
        {
            "space": "m-1",
            "coverage": "c",
            "threshold": "0.30000000000000004",
            "images": "3",
            "max_neighbours": "None",
            "cut": "2",
            **EXACT,
        },
    ),
    (NearestMetadata(space="m-1", coverage="c", kept=20), {"space": "m-1", "coverage": "c", "kept": "20", **EXACT}),
    (
        NearestMetadata(
            space="m-1",
            coverage="c",
            kept=20,
            exact=False,
            method="cells",
            probes=3,
            cells=40,
            recall=0.1 + 0.2,
            recall_at_least=0.25,
            recall_images=1000,
        ),
        {
            "space": "m-1",
            "coverage": "c",
            "kept": "20",
            "exact": "False",
            "method": "cells",
            "probes": "3",
            "cells": "40",
            "recall": "0.30000000000000004",
            "recall_at_least": "0.25",
            "recall_images": "1000",
        },
    ),
    (
        DuplicatesMetadata(space="m-1", coverage="c", method="phash 9", images=3, pending=0, storage="d"),
        {"space": "m-1", "coverage": "c", "method": "phash 9", "images": "3", "pending": "0", "storage": "d"},
    ),
    (
        GroupsMetadata(space="m-1", coverage="c", method="Leiden", requested_min_score=None, min_score=0.25),
        {"space": "m-1", "coverage": "c", "method": "Leiden", "neighbours": "", "asked_least": "None", "least": "0.25"},
    ),
    (
        ThresholdsMetadata(space="m-1", coverage="c", version="2", report="{}", computed_for="b", duplicates="d"),
        {"space": "m-1", "coverage": "c", "version": "2", "report": "{}", "computed_for": "b", "duplicates": "d"},
    ),
    (
        EmbeddingsMetadata(space="m-1", dim=1280, shard="0a", shards=16),
        {"space": "m-1", "dim": "1280", "shard": "0a", "shards": "16", "decoder": "1"},
    ),
    (
        ManifestMetadata(
            root="/Zürich",
            shard="0a",
            shards=16,
            max_pixels=9,
            fingerprint="2:0f",
            listed_from_ns=10**18,
            listed_to_ns=10**18 + 1,
            decoder=2,
            inspection=2,
        ),
        {
            "root": "/Zürich",
            "shard": "0a",
            "shards": "16",
            "max_pixels": "9",
            "fingerprint": "2:0f",
            "listed_from_ns": "1000000000000000000",
            "listed_to_ns": "1000000000000000001",
            "decoder": "2",
            "inspection": "2",
            "decoders": "",
        },
    ),
]


@pytest.mark.parametrize(("record", "texts"), ON_DISK, ids=lambda value: type(value).__name__)
def test_a_record_is_stored_under_its_keys_and_read_back_exactly(record: TableMetadata, texts: dict[str, str]) -> None:
    assert record.as_metadata() == texts
    assert type(record).from_metadata(texts | {"unknown": "key"}) == record


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param({}, id="empty"),
        pytest.param({"space": "m-1", "coverage": "c"}, id="missing field"),
        pytest.param({"space": "m-1", "coverage": "c", "kept": "twenty"}, id="not a number"),
    ],
)
def test_the_metadata_of_another_version_gives_no_record(texts: dict[str, str]) -> None:
    assert NearestMetadata.from_metadata(texts) is None


def test_a_missing_optional_field_has_its_default() -> None:
    assert EmbeddingsMetadata.from_metadata({"space": "m-1"}) == EmbeddingsMetadata(space="m-1")
