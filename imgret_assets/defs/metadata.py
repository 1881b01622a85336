"""Dagster metadata made from reports of the domain: counts, schemas, thumbnails.

Belongs here: formatting. Not here: counting (`domain`), drawing thumbnails (`domain.images.contact_sheets`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from imgret_assets.domain.images.contact_sheets import markdown_sheet, markdown_thumbnails
from imgret_assets.domain.images.image_status import Status
from imgret_assets.domain.storage import tables
from imgret_assets.errors import TableError
from imgret_assets.image_roots import AnyRoot
from imgret_assets.object_url import ImageFile

# This sheet and that of the skipped files together stay below 64 KB per materialisation.
THUMBNAIL_BYTES = 44 * 1024
MAX_THUMBNAILS = 32
MAX_SKIPPED_THUMBNAILS = 8
MAX_SKIPPED_ROWS = 50

_COLUMN_DESCRIPTIONS = {
    "path": "POSIX path, relative to the image root",
    "sha256": "SHA-256 of the file's bytes",
    "mtime_ns": "modification time, nanoseconds",
    "ctime_ns": "status change time, nanoseconds",
    "width": "pixels, after EXIF rotation",
    "height": "pixels, after EXIF rotation",
    "label": "path of the parent folder",
    "status": "ok, or why the file cannot be used",
    "engine": "engine that computed the vector",
    "embedding": "vector as the model returns it, not normalised",
    "path_a": "the smaller path",
    "path_b": "the larger path",
    "score": "raw cosine of the stored vectors, float64",
    "bytes": "size of the file",
    "inode": "inode number of the file",
    "format": "image format by the content, not by the name",
    "error": "reason, if the status is not ok",
    "note": "what was ignored in a usable file, such as a colour profile that can't be read",
    "decoding": "how the pixels are decoded, if not as by the first version; null for ordinary images",
    "channels": "colour channels as stored: 1 grey, 3 colours (also by a palette), 4 CMYK; without transparency",
    "bits": "bits per pixel as stored, without transparency",
    "frames": "frames or pages of the file; null if they can't be counted",
    "raw_of": "the JPEG of the same shot that counts instead of this camera raw file",
    "shot": "check of the JPEG files of the same shot; null if there are none",
    "taken": "when the photo was taken by the camera's clock, without a zone; null if unknown",
    "camera": "make and model of the camera; null if unknown",
    "hard_links": "number of names that the file has in its file system; more than 1 for hard links",
    "link": "path of the file that a symbolic link leads to in the end; null for a file",
    "rank": "1 is the nearest",
    "neighbour": "path of the neighbour",
    "path_from": "the duplicate",
    "path_keep": "the file to keep; never itself a duplicate",
    "kind": "exact: the same bytes; near: the same image; look_first: different in one place or in colour; "
    "mirrored, rotated: the same image in another orientation",
    "distance": "number of the 256 bits in which the perceptual hashes differ",
    "correlation": "of the small grey versions of both images, -1 to 1; null if the bytes are the same",
    "cosine": "raw cosine of the stored vectors; null if the bytes are the same",
    "reason": "why the file is a duplicate, and why the other is kept",
    "group": "path of the group's representative",
    "representative": "true for the member nearest to the group's mean",
    "size": "images in the group; 1 for a single image",
    "weakest_score": "lowest score in the group",
    "x": "position on the map, of no unit",
    "y": "position on the map, of no unit",
    "community": "number of the community before the split",
    "threshold": "pairs have a greater score",
    "pairs": "unordered pairs; an estimate if not all were counted",
    "pairs_error": "half the 95 % interval of the estimate; 0 if all were counted",
    "images": "images with at least one such pair",
    "false_pairs": "number of pairs expected to be wrong",
    "precision": "share of the labelled pairs whose labels are equal; null without labels",
    "recall": "share of all pairs with equal labels that are above the threshold; null without labels",
}

# Description of each layer, shown with each of its assets.
_LAYERS = {
    "raw": "**raw**: the image files on the disk. `raw_images` lists the files of a shard with hash, size and status. "
    "It opens only files whose size or times have changed. All other assets start from its manifest.",
    "vectors": "**vectors**: parquet tables computed from the files, without a database. `embeddings` has a vector for "
    "each usable image. Pairs, neighbours, duplicates and groups are computed exactly from it, unless "
    "`IMGRET_PAIR_SEARCH=approximate` lets pairs and neighbours be missing; the cost of a refresh depends on what has "
    "changed. `similarity_report` shows what a score means for this collection.",
    "graph": "**graph**: Neo4j, made equal to the tables by writing the differences: `:Image` nodes with a vector "
    "index, `SIMILAR_TO`, `DUPLICATE_OF` and `DECIDED` relationships, the property `group`. It can be rebuilt from the "
    "tables at any time, and manual changes are repaired.",
    "store": "**store**: the object store of IMGRET_STORE, from which other machines take the tables before their next "
    "run or query. A generation replaces the one before as a whole.",
}


def with_layer_descriptions(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """Return the assets with the description of their layer in the metadata."""

    def described(spec: dg.AssetSpec) -> dg.AssetSpec:
        layer = _LAYERS.get(spec.group_name or "")
        return spec.merge_attributes(metadata={"layer": dg.MetadataValue.md(layer)}) if layer else spec

    return list(dg.map_asset_specs(described, assets))  # type: ignore[arg-type]


def changes(*, state: Mapping[str, int] | None = None, **counts: int) -> Mapping[str, Any]:
    """Return what a materialisation has changed: a sentence, and the numbers, which the UI plots over time.

    Args:
        state: counts that are no changes but belong beside them, such as that of unusable files.
        counts: number of changes of each kind, by its name.
    """
    said = [f"{count:,} {name}" for name, count in counts.items() if count]
    rest = [f"{count:,} {name}" for name, count in (state or {}).items() if count]
    return {"changes": ", ".join([*(said or ["nothing changed"]), *rest]), **counts, **(state or {})}


def rows_by_kind(path: Path, column: str | None = None) -> Counter[str]:
    """Count the rows of a table, by the texts of a column where one is given; nothing where it can't be read."""
    with suppress(TableError):
        if not path.is_file():
            return Counter()
        if column is None:
            return Counter({"rows": tables.count_rows(path)})
        return Counter(tables.read(path, [column])[column].to_pylist())
    return Counter()


def groups_by_kind(path: Path) -> Counter[str]:
    """Count the groups of the groups table, and its images without a group; nothing where it can't be read."""
    try:
        if not path.is_file():
            return Counter()
        sizes = tables.read(path, ["representative", "size"])
    except TableError:
        return Counter()
    groups = sizes.filter(sizes["representative"])["size"].to_numpy()
    single = int((groups == 1).sum())
    return Counter({"groups": len(groups) - single, "single images": single})


def net_changes(before: Counter[str], after: Counter[str]) -> Mapping[str, Any]:
    """Return by how many rows of each kind a table has grown or shrunk: a sentence, and the numbers."""
    differences = {kind: after[kind] - before[kind] for kind in sorted({*before, *after})}
    said = [f"{difference:+,} {kind}" for kind, difference in differences.items() if difference]
    numbers = {f"changes_{kind.replace(' ', '_')}": difference for kind, difference in differences.items()}
    return {"changes": ", ".join(said) or "as many rows as before", **numbers}


def column_schema(schema: pa.Schema, **descriptions: str) -> dg.TableSchema:
    """Return the columns of a table for the UI; `descriptions` replace the usual ones of some columns."""
    texts = _COLUMN_DESCRIPTIONS | descriptions
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name=field.name, type=str(field.type), description=texts.get(field.name)) for field in schema
        ]
    )


def thumbnails(root: AnyRoot, paths: Sequence[str], budget_bytes: int = THUMBNAIL_BYTES) -> Mapping[str, Any]:
    """Return a sheet of small images as metadata; nothing without paths."""
    if not paths:
        return {}
    sheet = markdown_sheet([root / path for path in paths[:MAX_THUMBNAILS]], max_bytes=budget_bytes)
    return {"thumbnails": dg.MetadataValue.md(sheet)}


def skipped_thumbnails(root: AnyRoot, rows: Sequence[tuple[str, str, str]]) -> Mapping[str, Any]:
    """Return thumbnails of files that cannot be used, as far as they can be decoded, each with its reason."""
    cells = [(root / path, path, str(status), reason) for path, status, reason in rows[:MAX_SKIPPED_THUMBNAILS]]
    return thumbnail_table("skipped_thumbnails", cells, headers=("", "file", "status", "reason"), size=48)


def thumbnail_table(
    name: str, rows: Sequence[Sequence[ImageFile | str]], *, headers: Sequence[str], size: int
) -> Mapping[str, Any]:
    """Return a table with thumbnails in its cells as metadata with this name; nothing without rows.

    Args:
        name: key of the metadata.
        rows: cells of each row; a file or object becomes its thumbnail, a text is shown as it is.
        headers: column names.
        size: longest side of a thumbnail, in pixels.
    """
    return {name: dg.MetadataValue.md(markdown_thumbnails(rows, headers=headers, size=size))} if rows else {}


def unusable_table(rows: Sequence[tuple[str, str, str]]) -> Mapping[str, Any]:
    """Return the files that cannot be used, with status and reason; nothing if all can be used."""
    if not rows:
        return {}
    columns = dg.TableSchema(columns=[dg.TableColumn(name) for name in ("path", "status", "reason")])
    records = [
        dg.TableRecord({"path": path, "status": str(status), "reason": reason})
        for path, status, reason in rows[:MAX_SKIPPED_ROWS]
    ]
    return {"skipped": dg.MetadataValue.table(records, columns), "skipped_total": len(rows)}


def status_counts(statuses: Counter[str]) -> Mapping[str, Any]:
    """Return the number of rows for each status other than ok."""
    return {f"status_{status}": count for status, count in sorted(statuses.items()) if status != Status.OK}


def rate(count: int, seconds: float) -> float:
    """Return the count per second, rounded; 0 if nothing was done."""
    return round(count / seconds, 1) if count and seconds > 0 else 0.0
