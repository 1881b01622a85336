"""The mean vectors that centred embedding spaces subtract.

Belongs here: reading a mean, the home's copies of means. Not here: computing a mean
(`domain.embeddings.mean_centring`), the layer that subtracts it (`domain.models.networks`).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.space_records import read_json_record
from imgret_assets.domain.models.weights import file_sha256
from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ModelError, first_line

# By how much rounding to float32 may lengthen the mean of vectors of length 1 beyond 1.
_LENGTH_SLACK = 1e-4


def read_mean(file: Path, dim: int | None = None) -> np.ndarray:
    """Read the mean of a collection's vectors of length 1, float32 (dim,), of length 1 at most.

    Subtracting it from vectors of length 1 is the centring of Suzuki and others, "Centering similarity measures to
    reduce hubs", 2013: the mean cosine of any image with all others becomes about 0.

    Args:
        file: a `.npy` file, as `imgret models centre` writes it.
        dim: the number of components it must have; any number where None.

    Raises:
        ModelError: there is no such file, or it holds something else.
    """
    try:
        mean = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        problem = "does not exist" if isinstance(error, FileNotFoundError) else f"can't be read ({first_line(error)})"
        raise ModelError(
            f"The mean {file} {problem}",
            expected="a .npy file, as `imgret models centre` writes it",
            remedy="set IMGRET_CENTRE to such a file, or to none",
        ) from error
    if not isinstance(mean, np.ndarray):
        problem = "several arrays"
    elif mean.dtype != np.float32 or mean.ndim != 1 or dim not in (None, len(mean)):
        problem = f"{mean.dtype} of shape {mean.shape}"
    elif not np.isfinite(mean).all():
        problem = "numbers that are not finite"
    elif (length := float(np.linalg.norm(mean.astype(np.float64)))) > 1 + _LENGTH_SLACK:
        problem = f"a vector of length {length:.4g}"
    else:
        return mean
    raise ModelError(
        f"The mean {file} holds {problem}",
        expected=f"float32 of shape ({'dim' if dim is None else dim},), the mean of vectors of length 1",
        remedy="make one of this model's vectors by `imgret models centre`, or set IMGRET_CENTRE=none",
    )


def mean_digest(file: Path) -> str:
    """Return the SHA-256 of a file with a mean.

    Raises:
        ModelError: the file holds no mean.
    """
    read_mean(file)
    return file_sha256(file)


def keep_mean(home: Home, file: Path, source: EmbeddingSpace | None = None) -> str:
    """Keep a copy of a mean in the home and return the SHA-256 of its file.

    Args:
        home: the home.
        file: the file with the mean.
        source: the space of the vectors whose mean it is; None where that is not known.

    Raises:
        ModelError: the file holds no mean.
    """
    digest = mean_digest(file)
    copy = _copy_path(home, digest)
    if not copy.is_file() or file_sha256(copy) != digest:
        with atomic_files.replacing(copy) as temporary:
            temporary.write_bytes(file.read_bytes())
    if source is not None:
        atomic_files.write_json(_source_path(home, digest), {"space": source.id})
    return digest


def find_mean(home: Home, digest: str) -> Path | None:
    """Return the file with a mean: the home's copy, else the file that IMGRET_CENTRE names.

    Args:
        home: the home.
        digest: SHA-256 of the file; empty for no mean, which returns None.

    Raises:
        ModelError: neither is a file of this digest.
    """
    if not digest:
        return None
    copy, setting = _copy_path(home, digest), home.settings.centre
    for file in (copy, setting):
        if isinstance(file, Path) and file.is_file() and file_sha256(file) == digest:
            return file
    raise ModelError(
        f"The mean that was subtracted from the vectors is missing or damaged ({copy})",
        remedy="set IMGRET_CENTRE to the file it was given as, or to none, and run `imgret run`",
    )


def check_source(home: Home, space: EmbeddingSpace) -> None:
    """Refuse a mean that is known to have been made of vectors of another space, though it has as many components.

    Raises:
        ModelError: the mean of `space` was made of vectors of another space.
    """
    source = read_json_record(_source_path(home, space.centre)).get("space")
    uncentred = replace(space, centre="").id
    if source not in (None, uncentred):
        raise ModelError(
            f"The mean set by IMGRET_CENTRE was made of vectors in {source}",
            expected=f"one of vectors in {uncentred}",
            remedy="make one by `imgret models centre`, or set IMGRET_CENTRE=none",
        )


def _copy_path(home: Home, digest: str) -> Path:
    return home.path / "models" / "centres" / f"{digest}.npy"


def _source_path(home: Home, digest: str) -> Path:
    return _copy_path(home, digest).with_suffix(".json")
