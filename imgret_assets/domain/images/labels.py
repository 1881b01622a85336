"""The labels that the manifests give to images.

Belongs here: reading them. Not here: how a label comes about (`domain.images.files`), what is measured by them
(`domain.analysis.ranking_quality`, `domain.analysis.groups_table`, `domain.analysis.threshold_report`).
"""

from collections.abc import Sequence

from imgret_assets.domain.images.decode import Status
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home


def shard_labels(home: Home, shard: str) -> dict[tuple[str, str], str | None]:
    """The label of every usable file of a shard's manifest, by path and sha256; None where it has none.

    Raises:
        TableError: the manifest is missing or damaged.
    """
    manifest = tables.require(
        tables.manifest_path(home.warehouse, shard), f"The manifest of shard {shard}", "raw_images"
    )
    rows = tables.where_equal(tables.read(manifest, ["path", "sha256", "label", "status"]), "status", Status.OK)
    paths, contents, labels = (rows[name].to_pylist() for name in ("path", "sha256", "label"))
    return dict(zip(zip(paths, contents, strict=True), labels, strict=True))


def labels_of(home: Home, paths: Sequence[str]) -> list[str | None]:
    """The label of each path; None where the manifests give none.

    Raises:
        TableError: a manifest is missing or damaged.
    """
    by_path = {path: label for shard in home.shards for (path, _), label in shard_labels(home, shard).items()}
    return [by_path.get(path) for path in paths]
