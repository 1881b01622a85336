"""The assets `raw_images`, `embeddings` and `similarity_pairs`, materialised through Dagster in this process."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from imgret_assets.defs.build import build_defs
from imgret_assets.defs.jobs import REFRESH
from imgret_assets.defs.partitions import RANGE_END, RANGE_START
from imgret_assets.defs.resources.run_counts import RunCounts
from imgret_assets.domain.images import manifest
from imgret_assets.domain.operations.reshard import reshard
from imgret_assets.domain.storage.tables import (
    MANIFEST_SCHEMA,
    PAIRS_SCHEMA,
    embeddings_path,
    manifest_path,
    pairs_path,
)
from imgret_assets.errors import RootError, SettingError, TableError, VanishedFilesError
from imgret_tests.support.chain import QUIET, TABLES, Chain, Outcome, assert_tables_right
from imgret_tests.support.fake_model import fake_embedder
from imgret_tests.support.pictures import picture_bytes, write_pictures
from imgret_tests.support.tree import usable_vectors

THUMBNAIL_BYTES = 64 * 1024
ReadLog = Callable[[Outcome], str]


@pytest.fixture
def read_log(instance: dg.DagsterInstance) -> ReadLog:
    """A function that returns what the steps of a run have logged."""

    def read(outcome: Outcome) -> str:
        entries = instance.all_logs(outcome.result.run_id)
        return "\n".join(entry.user_message for entry in entries if not entry.is_dagster_event)

    return read


@pytest.fixture
def settled_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled, although the test has just written them."""
    monkeypatch.setattr(manifest, "RACY_NS", 0)


def test_a_run_whose_partitions_are_from_before_a_reshard_ends_by_name(
    chain: Chain, instance: dg.DagsterInstance
) -> None:
    """As one that the UI launches before the code location is loaded again: it would list a part of the images."""
    write_pictures(chain.root, 4)
    home = chain.home
    outdated = replace(chain, settings=replace(chain.settings, shards=None)).definitions
    reshard(home, 6)
    job = outdated.resolve_job_def(REFRESH)
    result = job.execute_in_process(
        instance=instance, tags={RANGE_START: "00", RANGE_END: "03"}, raise_on_error=False, run_config={**QUIET}
    )
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_key == "raw_images"
    assert "was resharded from 4 to 6 shards" in str(failure.step_failure_data.error)
    assert "reload the code location" in str(failure.step_failure_data.error)
    assert not list(home.warehouse.rglob("*.parquet"))


def test_tables_equal_brute_force_over_all_partitions_in_one_run(chain: Chain, instance: dg.DagsterInstance) -> None:
    write_pictures(chain.root, 40)
    outcome = chain.run(assets=TABLES, instance=instance)
    assert outcome.embedded == 40
    assert_tables_right(chain)
    assert len(instance.get_runs()) == 1
    tags = instance.get_runs()[0].tags
    assert (tags[RANGE_START], tags[RANGE_END]) == ("00", "03")
    for asset in ("raw_images", "embeddings"):
        events = outcome.result.asset_materializations_for_node(asset)
        assert sorted(event.partition or "" for event in events) == ["00", "01", "02", "03"]
    assert outcome.failed_checks == []


def test_metadata_has_rows_columns_and_speed(chain: Chain) -> None:
    write_pictures(chain.root, 40)
    outcome = chain.run(assets=TABLES)
    assert outcome.total("raw_images", "dagster/partition_row_count") == 40
    assert outcome.total("raw_images", "new") == 40
    assert outcome.total("embeddings", "dagster/partition_row_count") == 40
    assert {row["embedded_in_this_run"] for row in outcome.metadata("embeddings")} == {40}
    (stages,) = {
        tuple(row[f"seconds_{stage}"] for stage in ("load", "read", "decode", "forward", "write"))
        for row in outcome.metadata("embeddings")
    }
    assert all(seconds >= 0 for seconds in stages)
    assert stages[4] > 0
    assert {row["space"] for row in outcome.metadata("embeddings")} == {chain.space.id}
    [pairs] = outcome.metadata("similarity_pairs")
    assert pairs["dagster/row_count"] == len(chain.pairs()) > 100
    assert (pairs["images"], pairs["threshold"], pairs["compared_pairs"]) == (40, 0.8, 40 * 39 // 2)
    for asset in ("raw_images", "embeddings"):
        assert all(row["images_per_second"] > 0 for row in outcome.metadata(asset))
        assert all(Path(row["table"]).is_file() for row in outcome.metadata(asset))


def test_column_schemas_are_those_of_the_tables(chain: Chain) -> None:
    write_pictures(chain.root, 8)
    outcome = chain.run(assets=TABLES)
    declared = {
        spec.key.to_user_string(): spec.metadata.get("dagster/column_schema")
        for spec in chain.definitions.resolve_all_asset_specs()
    }
    for asset, schema in (("raw_images", MANIFEST_SCHEMA), ("similarity_pairs", PAIRS_SCHEMA)):
        assert _columns(declared[asset]) == [(field.name, str(field.type)) for field in schema]
    columns = dict(_columns(outcome.metadata("embeddings")[0]["dagster/column_schema"]))
    assert list(columns) == ["path", "sha256", "status", "error", "engine", "embedding"]
    assert columns["embedding"].startswith("fixed_size_list<")
    assert columns["embedding"].endswith(": float>[48]")


def _columns(schema: dg.TableSchema | None) -> list[tuple[str, str]]:
    assert schema is not None
    return [(column.name, column.type) for column in schema.columns]


def test_thumbnails_have_a_size_limit_and_are_omitted_when_nothing_changes(
    chain: Chain, rng: np.random.Generator
) -> None:
    # Noise compresses worst; each shard has many large images of it.
    for number in range(160):
        pixels = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(chain.root / f"noise{number:03d}.png")
    first = chain.run(assets=TABLES)
    for asset in ("raw_images", "embeddings"):
        sheets = [row["thumbnails"] for row in first.metadata(asset)]
        assert len(sheets) == 4
        assert all("data:image/" in sheet for sheet in sheets)
        assert max(len(sheet.encode()) for sheet in sheets) <= THUMBNAIL_BYTES
    second = chain.run(assets=TABLES)
    assert not any("thumbnails" in row for asset in TABLES for row in second.metadata(asset))


def test_a_second_run_does_nothing_and_logs_it(
    chain: Chain, instance: dg.DagsterInstance, read_log: ReadLog, settled_files: None
) -> None:
    write_pictures(chain.root, 24)
    chain.run(assets=TABLES)
    mtimes = {file: file.stat().st_mtime_ns for file in (chain.settings.home / "warehouse").rglob("*.parquet")}
    second = chain.run(assets=TABLES, instance=instance)
    assert second.embedded == 0
    assert {file: file.stat().st_mtime_ns for file in mtimes} == mtimes
    assert not any(row["written"] for asset in TABLES for row in second.metadata(asset))
    assert second.total("raw_images", "files_opened") == 0
    text = read_log(second)
    assert "24 files listed" in text
    assert "none changed: no file was opened" in text
    assert f"24 images with embeddings in {chain.space.id}: nothing was embedded" in text
    assert second.metadata("similarity_pairs")[0]["method"] == "nothing changed"


def test_run_counts_add_up_the_embedded_images(chain: Chain) -> None:
    write_pictures(chain.root, 12)
    counts = RunCounts()
    for embedded in (12, 12):
        definitions = build_defs(settings=chain.settings, resources=chain.resources | {"run_counts": counts})
        definitions.resolve_job_def(REFRESH).execute_in_process(
            QUIET,
            tags={RANGE_START: "00", RANGE_END: "03"},
            asset_selection=[dg.AssetKey(name) for name in ("raw_images", "embeddings")],
        )
        assert counts.embedded == embedded, "a second run embeds nothing"


def test_only_what_changed_is_embedded(chain: Chain) -> None:
    paths = write_pictures(chain.root, 24)
    chain.run(assets=TABLES)
    (chain.root / paths[3]).write_bytes(picture_bytes(900))
    (chain.root / paths[4]).unlink()
    (chain.root / paths[5]).rename(chain.root / "renamed.png")
    shutil.copy(chain.root / paths[6], chain.root / "copy.png")
    write_pictures(chain.root, 2, start=100)
    outcome = chain.run(assets=TABLES)
    assert outcome.embedded == 3
    assert outcome.total("raw_images", "new") == 4
    assert outcome.total("raw_images", "changed") == 1
    assert outcome.total("raw_images", "removed") == 2
    how = "5 new or changed images against all 26; 2 removed"
    assert outcome.metadata("similarity_pairs")[0]["method"].startswith(how)
    assert_tables_right(chain)


def test_a_run_of_some_shards_does_not_change_the_others(chain: Chain) -> None:
    write_pictures(chain.root, 24)
    outcome = chain.run(assets=["raw_images", "embeddings"], shards=("01", "02"))
    exists = [manifest_path(chain.home.warehouse, shard).is_file() for shard in chain.home.shards]
    assert exists == [False, True, True, False]
    shards = [node["shard"] for node in chain.expected().nodes.values()]
    assert outcome.embedded == shards.count("01") + shards.count("02") > 0


def test_shards_in_any_order_give_the_same_tables(chain: Chain) -> None:
    write_pictures(chain.root, 24)
    for shard in ("02", "00", "03", "01"):
        chain.run(assets=["raw_images", "embeddings"], shards=(shard, shard))
    chain.run(assets=["similarity_pairs"])
    assert_tables_right(chain)


@pytest.mark.parametrize("old_shard_first", [True, False])
def test_a_renamed_file_keeps_its_vector_in_both_orders_of_shards(chain: Chain, old_shard_first: bool) -> None:
    paths = write_pictures(chain.root, 12)
    chain.run(assets=TABLES)
    old_shard = chain.expected().nodes[paths[0]]["shard"]
    (chain.root / paths[0]).rename(chain.root / "elsewhere.png")
    new_shard = chain.expected().nodes["elsewhere.png"]["shard"]
    assert old_shard != new_shard
    for shard in (old_shard, new_shard) if old_shard_first else (new_shard, old_shard):
        assert chain.run(assets=["raw_images", "embeddings"], shards=(shard, shard)).embedded == 0
    chain.run(assets=["similarity_pairs"])
    assert_tables_right(chain)


def test_unusable_files_are_rows_and_listed_in_the_metadata(chain: Chain) -> None:
    write_pictures(chain.root, 12)
    (chain.root / "empty.png").touch()
    (chain.root / "text.jpg").write_text("not a picture")
    (chain.root / "cut.png").write_bytes(picture_bytes(1)[:-200])
    (chain.root / "notes.txt").write_text("ignored")
    outcome = chain.run(assets=TABLES)
    skipped = {
        record.data["path"]: record.data["status"]
        for asset in ("raw_images", "embeddings")
        for row in outcome.metadata(asset)
        if "skipped" in row
        for record in row["skipped"].records
    }
    assert skipped == {"empty.png": "empty", "text.jpg": "not_an_image", "cut.png": "truncated"}
    assert sum(row.get("status_empty", 0) for row in outcome.metadata("raw_images")) == 1
    assert {row["ignored_files"] for row in outcome.metadata("raw_images")} == {1}
    assert outcome.total("embeddings", "dagster/partition_row_count") == 13
    assert len(chain.vectors()) == 12


def test_a_missing_root_fails_the_run_and_keeps_the_tables(chain: Chain) -> None:
    write_pictures(chain.root, 8)
    chain.run(assets=TABLES)
    manifest_before = chain.manifest()
    chain.root.rename(chain.root.with_name("elsewhere"))
    with pytest.raises(RootError, match="does not exist"):
        chain.run(assets=TABLES)
    assert chain.manifest().equals(manifest_before)


def test_vanished_files_stop_the_run_until_deletes_are_allowed(chain: Chain) -> None:
    paths = write_pictures(chain.root, 40)
    chain.run(assets=TABLES)
    for path in paths[5:]:
        (chain.root / path).unlink()
    with pytest.raises(VanishedFilesError, match="35 of 40 known files have vanished"):
        chain.run(assets=TABLES)
    assert len(chain.manifest()) == 40
    chain.run(assets=TABLES, config={"raw_images": {"config": {"allow_deletes": True}}})
    assert_tables_right(chain)


def test_verify_opens_every_file(chain: Chain, settled_files: None) -> None:
    write_pictures(chain.root, 8)
    chain.run(assets=["raw_images"])
    verified = chain.run(assets=["raw_images"], config={"raw_images": {"config": {"verify": True}}})
    assert verified.total("raw_images", "files_opened") == 8
    assert verified.total("raw_images", "changed") == 0


def test_pairs_report_a_missing_shard(chain: Chain) -> None:
    write_pictures(chain.root, 8)
    chain.run(assets=["raw_images", "embeddings"])
    embeddings_path(chain.home.warehouse, chain.space.id, "02").unlink()
    with pytest.raises(TableError, match=r"embeddings of shard 02 .* missing"):
        chain.run(assets=["similarity_pairs"])


@pytest.mark.parametrize("threshold", [1.5, -2.0])
def test_a_threshold_outside_of_the_cosine_range_is_an_error(chain: Chain, threshold: float) -> None:
    write_pictures(chain.root, 4)
    chain.run(assets=["raw_images", "embeddings"])
    with pytest.raises(SettingError, match=f"threshold is {threshold}"):
        chain.run(assets=["similarity_pairs"], threshold=threshold)


def test_the_next_run_uses_the_threshold_of_the_last_one(chain: Chain) -> None:
    write_pictures(chain.root, 20)
    chain.run(assets=TABLES, threshold=0.93)
    assert_tables_right(chain, threshold=0.93)
    again = chain.run(assets=TABLES)
    assert again.metadata("similarity_pairs")[0]["threshold"] == 0.93


# Additional models


def test_an_additional_model_has_embeddings_and_pairs_are_of_the_graph_model_only(chain: Chain) -> None:
    write_pictures(chain.root, 20)
    both = replace(chain, beside="small")
    outcome = both.run(assets=TABLES)
    assert_tables_right(chain)
    small = fake_embedder("small").space
    assert {row["additional_spaces"] for row in outcome.metadata("embeddings")} == {small.id}
    assert len(usable_vectors(chain.home, small.id)[0]) == 20
    assert not pairs_path(chain.home.warehouse, small.id).exists()
    write_pictures(chain.root, 5, start=20)
    embedded_before = fake_embedder("small").embedded
    both.run(assets=TABLES)
    assert fake_embedder("small").embedded == embedded_before + 5
    assert len(usable_vectors(chain.home, small.id)[0]) == 25
    chain.run(assets=TABLES)
    assert len(usable_vectors(chain.home, small.id)[0]) == 25
