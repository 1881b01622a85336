"""What Dagster marks as out of date: exactly the assets whose code, settings or inputs have changed."""

from dataclasses import replace

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from imgret_assets.defs.asset_versions import code_versions, settings_of_versions
from imgret_assets.domain.duplicates import duplicates_table
from imgret_assets.settings import Settings
from imgret_tests.support.chain import Chain
from imgret_tests.support.pictures import picture_bytes, write_pictures

ASSETS = ["raw_images", "embeddings", "similarity_pairs", "nearest_neighbours", "duplicates", "image_groups"]
ASSETS += ["image_map", "similarity_report"]
OF_ALL_SHARDS = ASSETS[2:]


def out_of_date(chain: Chain, instance: dg.DagsterInstance) -> list[str]:
    """Names of the assets that the UI marks, a partitioned one if one of its partitions is."""
    graph = chain.definitions.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    marked = []
    for name in ASSETS:
        key = dg.AssetKey(name)
        partitions = ["00", "01", "02", "03"] if graph.get(key).is_partitioned else [None]
        if StaleStatus.STALE in {resolver.get_status(key, partition) for partition in partitions}:
            marked.append(name)
    return sorted(marked)


@pytest.fixture
def materialised(chain: Chain, instance: dg.DagsterInstance) -> Chain:
    write_pictures(chain.root, 12)
    chain.run(assets=ASSETS, instance=instance)
    return chain


def test_nothing_is_out_of_date_after_a_run_nor_after_parts_ran_again_without_a_change(
    materialised: Chain, instance: dg.DagsterInstance
) -> None:
    assert out_of_date(materialised, instance) == []
    path = next(materialised.root.rglob("*.png"))
    # The same bytes at another time.
    path.write_bytes(path.read_bytes())
    materialised.run(assets=["raw_images"], instance=instance)
    assert out_of_date(materialised, instance) == []
    materialised.run(assets=["raw_images", "embeddings"], shards=("01", "02"), instance=instance)
    assert out_of_date(materialised, instance) == []


def test_changed_files_mark_what_is_made_from_them_until_it_is_made_again(
    materialised: Chain, instance: dg.DagsterInstance
) -> None:
    next(materialised.root.rglob("*.png")).write_bytes(picture_bytes(700))
    materialised.run(assets=["raw_images"], instance=instance)
    assert out_of_date(materialised, instance) == ["embeddings"]
    materialised.run(assets=["embeddings"], instance=instance)
    assert out_of_date(materialised, instance) == sorted(OF_ALL_SHARDS)
    materialised.run(assets=OF_ALL_SHARDS, instance=instance)
    assert out_of_date(materialised, instance) == []


def test_another_threshold_model_or_method_marks_what_it_makes(
    materialised: Chain, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value, marked in (
        ("threshold", 0.9, "similarity_pairs"),
        ("model", "efficientnet_lite0", "embeddings"),
    ):
        with monkeypatch.context() as environment:
            environment.setenv(f"IMGRET_{name.upper()}", str(value))
            chosen = replace(materialised, settings=replace(materialised.settings, **{name: value}))
            assert out_of_date(chosen, instance) == [marked]
    monkeypatch.setattr(duplicates_table, "METHOD", "another one")
    assert out_of_date(materialised, instance) == ["duplicates"]


def test_an_option_counts_only_against_a_setting_of_the_environment(settings: Settings) -> None:
    """Without a setting it becomes the home's choice, which the next run by Dagster takes."""
    option = replace(settings, model="resnet50", threshold=0.9)
    unset = code_versions(settings_of_versions(option, settings))
    assert unset == code_versions(settings)
    environment = replace(settings, model="efficientnet_lite0", threshold=0.8)
    chosen = code_versions(settings_of_versions(option, environment))
    assert {name for name in chosen if chosen[name] != code_versions(environment)[name]} == {
        "embeddings",
        "similarity_pairs",
    }


def test_a_materialisation_says_first_what_has_changed(materialised: Chain, instance: dg.DagsterInstance) -> None:
    first = min(materialised.root.rglob("*.png")).read_bytes()
    (materialised.root / "new.png").write_bytes(picture_bytes(701))
    (materialised.root / "broken.png").write_bytes(b"no image")
    for name in ("one", "two"):
        (materialised.root / f"{name}.png").write_bytes(first)
    outcome = materialised.run(assets=ASSETS, instance=instance)
    assert all(next(iter(metadata)) == "changes" for name in ASSETS[:-1] for metadata in outcome.metadata(name))
    assert sum(row["new"] for row in outcome.metadata("raw_images")) == 4
    assert sum(row["unusable"] for row in outcome.metadata("raw_images")) == 1
    assert "+2 exact" in outcome.metadata("duplicates")[0]["changes"]
    assert outcome.metadata("nearest_neighbours")[0]["changes_rows"] > 0
    again = materialised.run(assets=ASSETS, instance=instance)
    said = {metadata["changes"] for name in ASSETS[:-1] for metadata in again.metadata(name)}
    assert said == {"nothing changed", "nothing changed, 1 unusable", "as many rows as before"}
