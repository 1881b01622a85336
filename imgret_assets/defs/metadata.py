"""Turning reports of the domain into Dagster's metadata: counts, schemas, thumbnails.

Belongs here: formatting. Not here: counting (`domain`), thumbnails themselves (`domain.images.contact_sheets`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from imgret_assets.domain.images.contact_sheets import markdown_sheet, markdown_thumbnails
from imgret_assets.domain.images.decode import Status

# Both sheets together stay below 64 KB a materialisation.
THUMBNAIL_BYTES = 44 * 1024
SKIPPED_SHOWN = 8

_COLUMN_NOTES = {
    "path": "POSIX, relative to the image root",
    "sha256": "of the file's bytes",
    "mtime_ns": "modification time, nanoseconds",
    "ctime_ns": "status change time, nanoseconds",
    "width": "pixels, as shown (after EXIF rotation)",
    "height": "pixels, as shown (after EXIF rotation)",
    "label": "the parent folder's path",
    "status": "ok, or why the file can't be used",
    "engine": "what computed the vector",
    "embedding": "as the model gives it, not normalised",
    "path_a": "the smaller path",
    "path_b": "the larger path",
    "score": "raw cosine of the stored vectors, float64",
    "bytes": "size of the file",
    "inode": "of the file system",
    "format": "as the content says, whatever the name",
    "error": "the reason where the status is not ok",
    "rank": "1 is the nearest",
    "neighbour": "path of one of the nearest",
    "path_from": "the copy",
    "path_keep": "the file to keep; never itself a copy",
    "kind": "exact: the same bytes; near: the same picture",
    "distance": "bits of 256 in which the perceptual hashes differ",
    "correlation": "of the small grey pictures, -1 to 1; null where the bytes are the same",
    "cosine": "raw, of the stored vectors; null where the bytes are the same",
    "reason": "why it is a copy, and why the other is kept",
    "group": "path of the group's representative",
    "representative": "true for the member nearest to the group's mean",
    "size": "images in the group; 1 where one is alone",
    "weakest_score": "the least score in the group",
    "community": "number of the community before it was split",
    "threshold": "a pair's cosine is greater",
    "pairs": "unordered pairs; estimated where not all were counted",
    "pairs_error": "half the 95 % interval of the estimate; 0 where all were counted",
    "images": "with at least one such pair",
    "false_pairs": "pairs expected to be wrong",
    "precision": "share of the labelled pairs with one label; null without labels",
    "recall": "share of all pairs with one label that are there; null without labels",
}


# What the layers are, for whoever opens one of their assets first.
_LAYERS = {
    "raw": "**raw**: the image files as they are on the disk. `raw_images` lists a shard's files with hash, size and "
    "status; it opens only files whose size or times have changed. Everything else starts from its manifest.",
    "vectors": "**vectors**: parquet tables computed from the files, no database needed. `embeddings` holds a vector "
    "for every usable image; pairs, neighbours, duplicates and groups follow from it, exactly, and cost what has "
    "changed. `similarity_report` says what a score means here.",
    "graph": "**graph**: Neo4j made equal to the tables, by difference: `:Image` nodes under a vector index, "
    "`SIMILAR_TO`, `DUPLICATE_OF` and `DECIDED` relationships, the property `group`. It can be rebuilt from the tables "
    "at any time; what was changed by hand is repaired.",
}


def with_layer_notes(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets, each with what its group is for in its metadata."""

    def noted(spec: dg.AssetSpec) -> dg.AssetSpec:
        note = _LAYERS.get(spec.group_name or "")
        return spec.merge_attributes(metadata={"about_the_group": dg.MetadataValue.md(note)}) if note else spec

    return list(dg.map_asset_specs(noted, assets))  # type: ignore[arg-type]


def column_schema(schema: pa.Schema, **notes: str) -> dg.TableSchema:
    """A table's columns, as the UI shows them; `notes` says of some what they mean in this table."""
    said = _COLUMN_NOTES | notes
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name=field.name, type=str(field.type), description=said.get(field.name)) for field in schema
        ]
    )


def thumbnails(root: Path, paths: Sequence[str], budget_bytes: int = THUMBNAIL_BYTES) -> Mapping[str, Any]:
    """A small sheet of pictures as metadata; nothing where there is none to show."""
    if not paths:
        return {}
    sheet = markdown_sheet([root / path for path in paths[:32]], max_bytes=budget_bytes)
    return {"pictures": dg.MetadataValue.md(sheet)}


def skipped_sheet(root: Path, rows: Sequence[tuple[str, str, str]]) -> Mapping[str, Any]:
    """Small pictures of the files that can't be used, as far as something can be seen of them, each with its reason."""
    shown = [(root / path, path, str(status), why) for path, status, why in rows[:SKIPPED_SHOWN]]
    return picture_table("skipped_pictures", shown, headers=("", "file", "status", "reason"), size=48)


def picture_table(
    name: str, rows: Sequence[Sequence[Path | str]], *, headers: Sequence[str], size: int
) -> Mapping[str, Any]:
    """A table with thumbnails among its cells (`sheet.markdown_thumbnails`) under this name; nothing without rows."""
    return {name: dg.MetadataValue.md(markdown_thumbnails(rows, headers=headers, size=size))} if rows else {}


def unusable_table(rows: Sequence[tuple[str, str, str]], limit: int = 50) -> Mapping[str, Any]:
    """Which files can't be used and why; nothing where all can."""
    if not rows:
        return {}
    columns = dg.TableSchema(columns=[dg.TableColumn(name) for name in ("path", "status", "reason")])
    records = [
        dg.TableRecord({"path": path, "status": str(status), "reason": why}) for path, status, why in rows[:limit]
    ]
    return {"skipped": dg.MetadataValue.table(records, columns), "skipped_total": len(rows)}


def status_counts(statuses: Counter[str]) -> Mapping[str, Any]:
    """How many rows have each status other than ok."""
    return {f"status_{status}": count for status, count in sorted(statuses.items()) if status != Status.OK}


def rate(count: int, seconds: float) -> float:
    """Things a second, 0 where nothing was done."""
    return round(count / seconds, 1) if count and seconds > 0 else 0.0
