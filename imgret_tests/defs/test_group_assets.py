"""The assets `image_groups`, `image_map` and `similarity_report`, materialised through Dagster in this process."""

import base64
import io

import pytest
from PIL import Image

from imgret_assets.domain.analysis.threshold_report import plot_path
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.tables import GROUPS_SCHEMA, MAP_SCHEMA, THRESHOLDS_SCHEMA, groups_path
from imgret_assets.errors import SettingError, TableError
from imgret_tests.support.chain import Chain
from imgret_tests.support.pictures import picture_bytes, write_pictures
from imgret_tests.support.tree import put

ASSETS = ["raw_images", "embeddings", "nearest_neighbours", "image_groups", "similarity_report"]
# Dagster's UI shows metadata of at most this size.
MAX_BYTES = 64 * 1024


def test_metadata_of_groups_has_their_sizes_and_agreement(chain: Chain) -> None:
    write_pictures(chain.root, 40)
    outcome = chain.run(assets=ASSETS)
    [metadata] = outcome.metadata("image_groups")
    rows = tables.read(groups_path(chain.home.warehouse, chain.space.id)).to_pylist()
    assert metadata["dagster/row_count"] == len(rows) == 40
    sizes = {row["group"]: row["size"] for row in rows}
    assert metadata["groups"] == sum(size > 1 for size in sizes.values())
    assert metadata["single_images"] == sum(size == 1 for size in sizes.values())
    assert metadata["largest_group_size"] == max(sizes.values())
    assert all(0 < metadata[f"b_cubed_f1_{when}"] <= 1 for when in ("before_split", "after_split"))
    assert min(row["score"] for row in rows) >= metadata["min_score"]
    assert metadata["written"]
    thumbnails = metadata.pop("largest_groups")
    largest = sorted(((-size, name) for name, size in sizes.items() if size > 1))[:12]
    assert thumbnails.count("data:image/") == len(largest)
    assert f"| {-largest[0][0]} |" in thumbnails
    assert len(thumbnails.encode()) <= MAX_BYTES
    [again] = chain.run(assets=ASSETS).metadata("image_groups")
    unchanged = {name: 0 for name in metadata if name.startswith("changes_")}
    assert again == metadata | unchanged | {"changes": "as many rows as before", "written": False}


def test_neighbours_and_pairs_have_thumbnails_only_when_they_are_written(chain: Chain) -> None:
    write_pictures(chain.root, 40)
    outcome = chain.run(assets=[*ASSETS[:3], "similarity_pairs"], threshold=0.5)
    for asset, key, thumbnails in (
        ("nearest_neighbours", "some_neighbours", 6 * (1 + 4)),
        ("similarity_pairs", "weakest_pairs", 8 * 2),
    ):
        [metadata] = outcome.metadata(asset)
        assert metadata[key].count("data:image/") == thumbnails
        # Header, rule and rows have the same number of cells; otherwise Markdown shows no table.
        assert len({line.count(" | ") for line in metadata[key].splitlines()}) == 1
        assert len(metadata[key].encode()) <= MAX_BYTES
        [again] = chain.run(assets=[asset], threshold=0.5).metadata(asset)
        assert key not in again


@pytest.mark.parametrize("field", ["min_score", "least_score"])
def test_the_minimum_score_can_be_configured(chain: Chain, field: str) -> None:
    """By its former name, too."""
    write_pictures(chain.root, 20)
    config = {"image_groups": {"config": {field: 0.97}}}
    [metadata] = chain.run(assets=ASSETS, config=config).metadata("image_groups")
    assert metadata["min_score"] == 0.97
    rows = tables.read(groups_path(chain.home.warehouse, chain.space.id)).to_pylist()
    assert min(row["score"] for row in rows) >= 0.97
    with pytest.raises(SettingError, match=r"min_score is 1\.5"):
        chain.run(assets=["image_groups"], config={"image_groups": {"config": {field: 1.5}}})


@pytest.mark.parametrize(("config", "is_written"), [({}, False), ({"force": True}, True), ({"anew": True}, True)])
def test_the_report_is_computed_again_with_force_or_its_former_name(
    chain: Chain, config: dict[str, bool], is_written: bool
) -> None:
    write_pictures(chain.root, 20)
    chain.run(assets=ASSETS)
    outcome = chain.run(assets=["similarity_report"], config={"similarity_report": {"config": config}})
    assert [metadata["written"] for metadata in outcome.metadata("similarity_report")] == [is_written]


def test_the_report_is_a_table_a_plot_and_a_plot_file(chain: Chain) -> None:
    write_pictures(chain.root, 40)
    [metadata] = chain.run(assets=ASSETS).metadata("similarity_report")
    plot = metadata["plot"]
    assert len(plot.encode()) <= MAX_BYTES
    data = base64.b64decode(plot.partition("base64,")[2].rstrip(")"))
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
    assert plot_path(chain.home.warehouse, chain.space.id).is_file()
    columns = [field.name for field in THRESHOLDS_SCHEMA]
    assert all(list(record.data) == columns for record in metadata["thresholds"].records)
    assert {0.5, 0.8, 0.95} <= {record.data["threshold"] for record in metadata["thresholds"].records}
    assert metadata["reason"]
    assert 0 <= metadata["precision_at_1"] <= 1
    assert "->" in metadata["rerank_mean_average_precision"]


def test_column_schemas_are_those_of_the_tables(chain: Chain) -> None:
    specs = {spec.key.to_user_string(): spec for spec in chain.definitions.resolve_all_asset_specs()}
    for asset, schema in (
        ("image_groups", GROUPS_SCHEMA),
        ("image_map", MAP_SCHEMA),
        ("similarity_report", THRESHOLDS_SCHEMA),
    ):
        declared = specs[asset].metadata["dagster/column_schema"]
        assert [(column.name, column.type) for column in declared.columns] == [(f.name, str(f.type)) for f in schema]


def test_every_column_is_described(chain: Chain) -> None:
    schemas = {
        spec.key.to_user_string(): spec.metadata["dagster/column_schema"]
        for spec in chain.definitions.resolve_all_asset_specs()
        if "dagster/column_schema" in spec.metadata
    }
    assert {"raw_images", "similarity_pairs", "nearest_neighbours", "duplicates", "image_groups"} <= set(schemas)
    undescribed = [
        f"{asset}.{column.name}"
        for asset, schema in schemas.items()
        for column in schema.columns
        if not column.description
    ]
    assert undescribed == []


def test_metadata_of_the_map_say_what_was_placed(chain: Chain) -> None:
    write_pictures(chain.root, 12)
    assets = [*ASSETS[:3], "image_map"]
    [metadata] = chain.run(assets=assets).metadata("image_map")
    assert (metadata["dagster/row_count"], metadata["laid_out"], metadata["written"]) == (12, True, True)
    assert metadata["changes"] == "+12 rows"
    put(chain.root, "new.png", picture_bytes(77))
    [metadata] = chain.run(assets=assets).metadata("image_map")
    assert (metadata["placed"], metadata["laid_out"], metadata["changes_rows"]) == (1, False, 1)
    [again] = chain.run(assets=assets).metadata("image_map")
    assert (again["placed"], again["written"]) == (0, False)


def test_a_missing_table_is_named(chain: Chain) -> None:
    write_pictures(chain.root, 8)
    chain.run(assets=["raw_images", "embeddings"])
    for asset in ("image_groups", "image_map", "similarity_report"):
        with pytest.raises(TableError, match="materialise `nearest_neighbours`"):
            chain.run(assets=[asset])
