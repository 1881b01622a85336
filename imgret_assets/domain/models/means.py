"""The mean vectors that centred embedding spaces subtract.

Belongs here: storing and reading a mean. Not here: computing it (`domain.embeddings.mean_centring`).
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from imgret_assets.domain.models import networks
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.space_records import _read_record
from imgret_assets.domain.models.weights import file_sha256
from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ModelError

if TYPE_CHECKING:
    pass


def mean_digest(file: Path) -> str:
    """SHA-256 of a file with a mean.

    Raises:
        ModelError: the file holds no mean.
    """
    networks.read_mean(file)
    return file_sha256(file)


def keep_mean(home: Home, file: Path, source: EmbeddingSpace | None = None) -> str:
    """Keep a copy of a mean in the home, and what space it was made in where that is known; SHA-256 of its file.

    Raises:
        ModelError: the file holds no mean.
    """
    digest = mean_digest(file)
    kept = _kept_mean(home, digest)
    if not kept.is_file() or file_sha256(kept) != digest:
        with atomic_files.replacing(kept) as temporary:
            temporary.write_bytes(file.read_bytes())
    if source is not None:
        atomic_files.write_json(kept.with_suffix(".json"), {"space": source.id})
    return digest


def _kept_mean(home: Home, digest: str) -> Path:
    return home.path / "models" / "centres" / f"{digest}.npy"


def mean_file(home: Home, digest: str) -> Path | None:
    """The file with a mean: the home's copy, else the file that IMGRET_CENTRE names; None where `digest` is empty.

    Raises:
        ModelError: neither is a file of this digest.
    """
    if not digest:
        return None
    kept, setting = _kept_mean(home, digest), home.settings.centre
    for file in (kept, setting):
        if isinstance(file, Path) and file.is_file() and file_sha256(file) == digest:
            return file
    raise ModelError(
        f"The mean that was taken from the vectors is missing or damaged ({kept})",
        remedy="set IMGRET_CENTRE to the file it was given as, or to none, and run `imgret run`",
    )


def _check_source(home: Home, space: EmbeddingSpace) -> None:
    """Refuse a mean that is known to have been made of other vectors, though it may have as many numbers.

    Raises:
        ModelError: it was.
    """
    source = _read_record(_kept_mean(home, space.centre).with_suffix(".json")).get("space")
    if source not in (None, replace(space, centre="").id):
        raise ModelError(
            f"The mean set by IMGRET_CENTRE was made of vectors in {source}",
            expected=f"one of vectors in {replace(space, centre='').id}",
            remedy="make one by `imgret models centre`, or set IMGRET_CENTRE=none",
        )
