"""Metadata records of the parquet tables: one frozen dataclass for the key-value metadata of each table.

Belongs here: the fields of every table's metadata, and how they are written as text. Not here: schemas, paths and
reading files (`domain.storage.tables`), whether a table is current (`domain.storage.derived_tables`).

A field's name is its key in the file, unless the field names another key. Text is stored as it is, a number or None as
its `repr`, so that a float is read back exactly.
"""

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Self, get_type_hints


def _optional(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text == "None" else parse(text)


def _boolean(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError(text)
    return text == "True"


_PARSERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    bool: _boolean,
    int: int,
    float: float,
    int | None: _optional(int),
    float | None: _optional(float),
}


def _key(attribute: "Field[Any]") -> str:
    return attribute.metadata.get("key", attribute.name)


@dataclass(frozen=True, kw_only=True)
class TableMetadata:
    """Base of the records: conversion to and from a file's key-value metadata."""

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self | None:
        """Parse a file's metadata; keys that the record doesn't know are ignored.

        Returns:
            None where a field without a default is missing or a value can't be parsed: another version of the program
            wrote the file.
        """
        types = get_type_hints(cls)
        try:
            return cls(
                **{
                    attribute.name: _PARSERS[types[attribute.name]](metadata[_key(attribute)])
                    for attribute in fields(cls)
                    if _key(attribute) in metadata
                }
            )
        except (TypeError, ValueError):
            return None

    def as_metadata(self) -> dict[str, str]:
        """Return the record as text values, for a file's metadata."""
        values = {_key(attribute): getattr(self, attribute.name) for attribute in fields(self)}
        return {key: value if isinstance(value, str) else repr(value) for key, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class ManifestMetadata(TableMetadata):
    """Metadata of one shard's manifest.

    Attributes:
        root: absolute image root that the paths are relative to.
        shard: key of the shard.
        shards: number of shards of the home.
        max_pixels: limit above which an image was `too_large`.
        fingerprint: of the shard's listed files (`domain.images.files.ListingFingerprint`); empty after a reshard.
        listed_from_ns, listed_to_ns: start and end of the walk, nanoseconds since the epoch.
        decoder: version of the decoder that inspected the files (`domain.images.decode.DECODER_VERSION`).
        inspection: version of the facts that a row has (`domain.images.file_inspection.INSPECTION_VERSION`).
        decoders: the decoders besides Pillow, with their versions (`domain.images.optional_decoders`); empty for a
            version of the program that had none.
    """

    root: str
    shard: str = ""
    shards: int = 0
    max_pixels: int | None = None
    fingerprint: str = ""
    listed_from_ns: int = 0
    listed_to_ns: int = 0
    decoder: int = 1
    inspection: int = 1
    decoders: str = ""


@dataclass(frozen=True, kw_only=True)
class EmbeddingsMetadata(TableMetadata):
    """Metadata of one shard's embeddings. The file also holds the keys of `EmbeddingSpace.as_metadata`.

    Attributes:
        space: id of the embedding space.
        dim: length of a vector.
        shard: key of the shard.
        shards: number of shards of the home.
        decoder: version of the decoder by which contents without a vector could not be decoded.
    """

    space: str
    dim: int = 0
    shard: str = ""
    shards: int = 0
    decoder: int = 1


@dataclass(frozen=True, kw_only=True)
class DerivedMetadata(TableMetadata):
    """Metadata of a table that is made from the embeddings.

    Attributes:
        space: id of the embedding space.
        coverage: hash of the embeddings that the table was made from (`table_reader.coverage_of`).
    """

    space: str
    coverage: str


@dataclass(frozen=True, kw_only=True)
class ComparedMetadata(DerivedMetadata):
    """Metadata of a table for which images were compared with each other, all or only those that share a cell.

    A table without these keys is exact.

    Attributes:
        exact: whether all images were compared with all; otherwise rows may be missing. No row is ever wrong.
        method: how an approximate search was done; empty for an exact one.
        probes: number of cells that each image visited.
        cells: number of cells.
        recall: of a random sample of images, the mean share of an image's true rows that the table has; None where no
            sampled image has any.
        recall_at_least: lower limit of that mean over all images, with a confidence of 95 %.
        recall_images: number of sampled images that have true rows.
    """

    exact: bool = True
    method: str = ""
    probes: int | None = None
    cells: int | None = None
    recall: float | None = None
    recall_at_least: float | None = None
    recall_images: int | None = None

    @property
    def search(self) -> str:
        """How the search was done, for tables made from this one; empty where it was exact."""
        return "" if self.exact else f"{self.method}, {self.probes} of {self.cells} cells"

    @property
    def caveat(self) -> str:
        """A sentence that says what an approximate table lacks; empty for an exact one."""
        if self.exact:
            return ""
        if self.recall is None or self.recall_at_least is None:
            return f"Approximate ({self.probes} of {self.cells} cells): rows may be missing; no sampled image has any."
        return (
            f"Approximate ({self.probes} of {self.cells} cells): of an image's true rows it has {self.recall:.2%} on "
            f"average, by a sample of {self.recall_images:,} images; at least {self.recall_at_least:.2%} with 95 % "
            "confidence."
        )


@dataclass(frozen=True, kw_only=True)
class PairsMetadata(ComparedMetadata):
    """Metadata of the pairs table.

    Attributes:
        threshold: every pair's score is greater than this.
        images: number of images compared.
        max_neighbours: limit on the pairs of one image; None for no limit.
        cut: number of pairs that the limit left out.
    """

    threshold: float
    images: int
    max_neighbours: int | None
    cut: int = 0


@dataclass(frozen=True, kw_only=True)
class NearestMetadata(ComparedMetadata):
    """Metadata of the nearest neighbours table.

    Attributes:
        kept: number of neighbours stored for each image.
    """

    kept: int


@dataclass(frozen=True, kw_only=True)
class DuplicatesMetadata(DerivedMetadata):
    """Metadata of the duplicates table.

    Attributes:
        method: name of the method and its limits.
        images: number of images compared.
        pending: number of contents that could not be read and are tried again by the next run.
        storage: hash of all contents and of which paths are links or hard links (`usable_images.storage_digest`);
            empty in a table of an older version.
    """

    method: str
    images: int
    pending: int
    storage: str = ""


@dataclass(frozen=True, kw_only=True)
class GroupsMetadata(DerivedMetadata):
    """Metadata of the groups table.

    Attributes:
        method: name of the method and its parameters.
        requested_min_score: minimum cosine with the representative as it was requested; None for the method's own.
        min_score: minimum cosine with the representative that was applied.
        neighbours: how the nearest neighbours were searched (`ComparedMetadata.search`); empty where they are exact.
    """

    method: str
    neighbours: str = ""
    requested_min_score: float | None = field(metadata={"key": "asked_least"})
    min_score: float = field(metadata={"key": "least"})


@dataclass(frozen=True, kw_only=True)
class MapMetadata(DerivedMetadata):
    """Metadata of the map table.

    Attributes:
        method: name of the method and its parameters.
        placed: images placed beside their neighbours since all were laid out.
        neighbours: how the nearest neighbours were searched (`ComparedMetadata.search`); empty where they are exact.
    """

    method: str
    neighbours: str = ""
    placed: int


@dataclass(frozen=True, kw_only=True)
class ThresholdsMetadata(DerivedMetadata):
    """Metadata of the thresholds table.

    Attributes:
        version: version of the report's figures.
        report: the report's figures as JSON, without the rows of the table.
        computed_for: coverage for which the figures were computed; `coverage` is the last one they were good for.
        duplicates: how the duplicates were found that the figures leave out (`duplicate_sets.duplicates_state`).
    """

    version: str
    report: str
    computed_for: str = ""
    duplicates: str = ""
