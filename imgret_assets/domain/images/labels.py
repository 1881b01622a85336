"""The labels of the images, as the manifests have them.

Belongs here: reading labels. Not here: deriving a label from a path (`domain.images.files`), measures that use labels
(`domain.analysis.ranking_quality`, `domain.analysis.groups_table`, `domain.analysis.threshold_report`).
"""

from collections.abc import Sequence

from imgret_assets.domain.images.image_status import Status
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home


def shard_labels(home: Home, shard: str) -> dict[tuple[str, str], str | None]:
    """Read the label of every usable file of a shard by path and sha256; None for a file without a label.

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
    """Read the label of each path; None for a path without a label or without a usable file.

    Raises:
        TableError: a manifest is missing or damaged.
    """
    by_path = {path: label for shard in home.shards for (path, _), label in shard_labels(home, shard).items()}
    return [by_path.get(path) for path in paths]
