"""Runs of Dagster with a store: the asset that commits, what other runs do with the store."""

import json
from dataclasses import replace

import dagster as dg
import pytest

from imgret_assets.domain.operations import table_store
from imgret_assets.errors import UnreachableStoreError
from imgret_assets.settings import Settings
from imgret_tests.support.chain import Chain
from imgret_tests.support.memory_bucket import ADDRESS, MemoryBucket
from imgret_tests.support.pictures import write_pictures

ASSETS = ["raw_images", "embeddings", "published_tables"]


@pytest.fixture
def bucket(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> MemoryBucket:
    """An empty store, which all runs of the test are configured with."""
    bucket = MemoryBucket()
    monkeypatch.setattr(table_store, "open_bucket", lambda url: bucket)
    monkeypatch.setenv("IMGRET_STORE", ADDRESS)
    return bucket


@pytest.fixture
def chain(settings: Settings, bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch) -> Chain:
    chain = Chain(replace(settings, store=ADDRESS))
    # As if the tables that these runs don't make were there, too.
    monkeypatch.setattr(table_store, "keep_complete_state", lambda home: True)
    write_pictures(chain.root, 12)
    return chain


def lease(bucket: MemoryBucket) -> dict[str, object]:
    return json.loads(bucket.content("LEASE"))


def test_the_asset_exists_with_a_store_alone(settings: Settings) -> None:
    key = dg.AssetKey("published_tables")
    with_store = replace(settings, store=ADDRESS)
    assert key in Chain(with_store).definitions.resolve_asset_graph().get_all_asset_keys()
    assert key not in Chain(settings).definitions.resolve_asset_graph().get_all_asset_keys()


def test_a_run_commits_the_tables_and_a_part_of_one_does_not(
    chain: Chain, bucket: MemoryBucket, instance: dg.DagsterInstance
) -> None:
    chain.run(assets=["raw_images", "embeddings"], instance=instance)
    assert bucket.all_keys() == {"LEASE"}
    assert lease(bucket)["released"], "for the next run"
    outcome = chain.run(assets=ASSETS, instance=instance)
    generation = json.loads(bucket.content("CURRENT"))["generation"]
    [event] = [e for e in outcome.result.get_asset_materialization_events() if "published" in str(e.asset_key)]
    metadata = event.materialization.metadata
    assert metadata["generation"].value == generation
    assert metadata["files"].value == 9, "two of each shard, and the record"
    assert lease(bucket)["released"]
    assert json.loads(bucket.content(f"generations/{generation}.json"))["run"] == outcome.result.run_id


def test_a_run_fails_with_the_named_error_before_anything_is_written(
    chain: Chain, bucket: MemoryBucket, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(key: str, *, unless: str | None = None) -> None:
        raise UnreachableStoreError("The store can't be reached")

    monkeypatch.setattr(bucket, "read", fail)
    with pytest.raises(dg.DagsterError) as caught:
        chain.run(assets=ASSETS, instance=instance)
    assert isinstance(caught.value.__cause__, UnreachableStoreError)
    assert not (chain.home.warehouse / "manifest").exists()
