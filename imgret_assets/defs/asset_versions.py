"""Versions of assets, by which Dagster knows what is out of date: of the code, and of the data.

Belongs here: which settings and methods an asset's code version names, and the data version of each asset. Not here:
the digests (`domain.storage.data_versions`), what a run computes anew (`domain`: it looks at the tables, not at these
versions).

The code version of an asset names its method and the settings that choose its result. A setting that is not set means
that the home's last choice counts: the version says `of the home`, because that choice can change without the code
location being loaded again. A data version is the same after a run that changed nothing. The three assets with
partitions have the version of the whole home in each partition: Dagster gives all partitions of a run one version.
"""

from collections.abc import Sequence
from dataclasses import replace

import dagster as dg

from imgret_assets.domain.analysis import groups_table, map_table, threshold_report
from imgret_assets.domain.duplicates import duplicates_table
from imgret_assets.domain.embeddings.table_reader import embeddings_files
from imgret_assets.domain.images.decode import DECODER_VERSION
from imgret_assets.domain.images.file_inspection import INSPECTION_VERSION
from imgret_assets.domain.images.optional_decoders import decodable_formats
from imgret_assets.domain.similarity.neighbours_table import KEPT
from imgret_assets.domain.storage.data_versions import version_of, version_of_inputs, version_of_rows
from imgret_assets.domain.storage.derived_tables import DERIVED_TABLES
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import manifest_path
from imgret_assets.settings import Settings

_OF_THE_HOME = "of the home"
_TABLES = {table.asset: table for table in DERIVED_TABLES}


def code_versions(settings: Settings) -> dict[str, str]:
    """Return the code version of each asset that has one, by its name.

    Args:
        settings: those of the environment, in which None means that the home's last choice counts.
    """
    model = {
        name: _OF_THE_HOME if (value := getattr(settings, name)) is None else str(value)
        for name in ("model", "weights", "decoding", "pooling", "centre")
    }
    threshold = _OF_THE_HOME if settings.threshold is None else f"{settings.threshold:g}"
    return {
        "raw_images": ", ".join(
            [f"decoder {DECODER_VERSION}", f"inspection {INSPECTION_VERSION}", *sorted(decodable_formats())]
        ),
        "embeddings": ", ".join(f"{name} {value}" for name, value in model.items()),
        "similarity_pairs": f"threshold {threshold}, max_neighbours {settings.max_neighbours}",
        "nearest_neighbours": f"{KEPT} neighbours",
        "duplicates": version_of({"method": duplicates_table.method_of(settings)}),
        "image_groups": version_of({"method": groups_table.METHOD}),
        "image_map": version_of({"method": map_table.METHOD}),
        "similarity_report": f"report {threshold_report.VERSION}",
    }


def settings_of_versions(settings: Settings, environment: Settings) -> Settings:
    """Return the settings that a run's code versions name.

    An option of a command counts where the environment has chosen otherwise: then the next run by Dagster would choose
    otherwise too. Where the environment leaves the choice to the home, an option has become the home's choice.
    """
    names = ("model", "weights", "centre", "threshold")
    return replace(settings, **{name: None for name in names if getattr(environment, name) is None})


def with_code_versions(assets: Sequence[dg.AssetsDefinition], settings: Settings) -> list[dg.AssetsDefinition]:
    """Return the assets with their code versions; `settings` as for `code_versions`."""
    versions = code_versions(settings)

    def versioned(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(code_version=versions.get(spec.key.to_user_string()))

    return list(dg.map_asset_specs(versioned, assets))  # type: ignore[arg-type]


def manifest_version(home: Home) -> dg.DataVersion:
    """Return the version of the manifest of all shards: paths, contents and statuses."""
    files = [manifest_path(home.warehouse, shard) for shard in home.shards]
    return dg.DataVersion(version_of_rows(files, ["path", "sha256", "status"]))


def embeddings_version(home: Home, space: str) -> dg.DataVersion:
    """Return the version of the embeddings of all shards: the space, and paths, contents, engines and statuses."""
    rows = version_of_rows(embeddings_files(home, space), ["path", "sha256", "engine", "status"])
    return dg.DataVersion(version_of({"space": space, "rows": rows}))


def nodes_version(home: Home, space: str) -> dg.DataVersion:
    """Return the version of the nodes: of the two tables that they are made from."""
    parts = {"manifest": manifest_version(home).value, "embeddings": embeddings_version(home, space).value}
    return dg.DataVersion(version_of(parts))


def table_version(home: Home, asset: str, space: str) -> dg.DataVersion:
    """Return the version of a table that is made from the embeddings."""
    return dg.DataVersion(version_of_inputs(_TABLES[asset].path(home.warehouse, space)))
