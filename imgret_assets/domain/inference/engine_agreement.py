"""The proof that an engine gives a model's vectors: a comparison with torch's float32 vectors of a fixed set of images.

Belongs here: the set, the reference, the comparison and its record in the home. Not here: the engines.
"""

import io
import json
import logging
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from imgret_assets.domain.models.resolution import Model
from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_assets.domain.storage import atomic_files
from imgret_assets.errors import ModelError

_log = logging.getLogger(__name__)

# The least cosine between an engine's vector and the reference, for every image of the fixed set.
MIN_AGREEMENT = 0.9999
_REMEDY = "use precision float32, or set IMGRET_ENGINE=torch"
# Before the checksum at the end of the file of reference vectors.
_CHECK_MARK = b"CRC-32"
# Width and height: wide, tall, square, smaller than any model's input, large enough for a scaled decode.
_SIZES = ((320, 240), (240, 320), (256, 256), (64, 48), (1000, 700), (500, 330))


@dataclass(frozen=True)
class Agreement:
    """How far an engine is from the reference.

    Attributes:
        least_cosine: between corresponding vectors, over the fixed set.
        largest_score_change: of the cosine of any two images of the set.
    """

    least_cosine: float
    largest_score_change: float


def fixed_images() -> list[Image.Image]:
    """Return the images that every engine is compared on, RGB: flat, ramps, waves, blocks, noise, in six sizes."""
    rng = np.random.default_rng(224)
    images: list[Image.Image] = []
    for number, (width, height) in enumerate(_SIZES):
        down, across = np.mgrid[-1.0 : 1.0 : height * 1j, -1.0 : 1.0 : width * 1j]
        waves = np.stack([np.sin((5 + number) * down), np.cos(7 * across), np.sin(4 * (down + across))], axis=2)
        coarse = rng.uniform(-1.0, 1.0, (1, 6, 6, 3))[0]
        blocks = np.kron(coarse, np.ones((-(-height // 6), -(-width // 6), 1)))[:height, :width]
        noise = rng.normal(0.0, 0.3, (height, width, 3))
        shapes = (waves, blocks + 0.5 * noise) if number % 2 else (np.stack([down, across, down * across], 2), blocks)
        images.extend(
            Image.fromarray(np.clip(127.5 + 127.5 * shape, 0, 255).astype(np.uint8), "RGB") for shape in shapes
        )
    return images


def reference_vectors(model: Model, folder: Path) -> np.ndarray:
    """Return the model's vectors of the fixed images, float32 (12, dim): by torch, in float32, on the CPU.

    They are computed once for a home and kept in `folder`; only the first time needs torch.
    """
    file = folder / "reference.npy"
    stored = _read_reference(file, model.space.dim)
    if stored is None:
        import torch

        network = model.build()
        apply = model.space.preprocessing.apply
        with torch.inference_mode():
            rows = [network(torch.from_numpy(apply(image)[np.newaxis])).numpy()[0] for image in fixed_images()]
        stored = np.stack(rows).astype(np.float32)
        content = io.BytesIO()
        np.save(content, stored)
        # numpy ignores what follows an array.
        with atomic_files.replacing(file) as temporary:
            temporary.write_bytes(content.getvalue() + _checked_end(content.getvalue()))
    return stored


def _checked_end(content: bytes) -> bytes:
    return _CHECK_MARK + zlib.crc32(content).to_bytes(4, "little")


def _read_reference(file: Path, dim: int) -> np.ndarray | None:
    """Read the reference; None, with a warning unless it is missing, where it can't be the one that was written."""
    try:
        data = file.read_bytes()
        end = len(data) - len(_checked_end(b""))
        # A file of an earlier version has no check.
        if data[end:].startswith(_CHECK_MARK) and data[end:] != _checked_end(data[:end]):
            raise ValueError("its check does not match")
        vectors = np.load(io.BytesIO(data), allow_pickle=False)
        expected = (2 * len(_SIZES), dim)
        if vectors.shape != expected or vectors.dtype != np.float32 or not np.isfinite(vectors).all():
            raise ValueError(f"{vectors.dtype} of shape {vectors.shape}, not float32 of shape {expected}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
        _log.warning("%s is damaged (%s). It is computed again.", file, error)
        return None
    return vectors


def measure_agreement(
    reference: np.ndarray,
    vectors: np.ndarray,
    name: str,
    *,
    remedy: str = _REMEDY,
) -> Agreement:
    """Compare two float32 (n, dim) arrays row by row.

    Args:
        reference: the right vectors.
        vectors: the vectors that are compared with them.
        name: of `vectors`, for messages: "The vectors of …".
        remedy: what to do if they don't agree.

    Raises:
        ModelError: a cosine is below 0.9999, or the shapes differ.
    """
    if reference.shape != vectors.shape:
        raise ModelError(f"{name} have shape {vectors.shape}", expected=f"{reference.shape}, as torch gives")
    a, b = (unit_rows(rows, dtype=np.float64) for rows in (reference, vectors))
    least = float(np.min(np.einsum("ij,ij->i", a, b)))
    if not least >= MIN_AGREEMENT:
        raise ModelError(
            f"{name} have a cosine of {least:.6f} to torch's",
            expected=f"at least {MIN_AGREEMENT}",
            remedy=remedy,
        )
    return Agreement(least, float(np.max(np.abs(a @ a.T - b @ b.T))))


def ensure_agreement(
    model: Model, folder: Path, key: str, embed: Callable[[list[Image.Image]], np.ndarray], *, anew: bool = False
) -> Agreement:
    """Return the agreement of an engine; measure and record it at the engine's first use in a home.

    Args:
        model: the model.
        folder: where the home keeps what belongs to the model's space.
        key: all that may change the engine's numbers: its name, versions, the processor.
        embed: returns the engine's vectors float32 (n, dim) of n RGB images.
        anew: measure although there is a record.

    Raises:
        ModelError: the engine doesn't agree with the reference; it must not be used.
    """
    return _ensure(
        folder / "agreement.json",
        key,
        lambda: measure_agreement(
            reference_vectors(model, folder), embed(fixed_images()), f"The vectors of {model.space.model} by {key}"
        ),
        anew=anew,
    )


def ensure_text_agreement(
    folder: Path, key: str, name: str, *, reference: Callable[[], np.ndarray], embed: Callable[[], np.ndarray]
) -> Agreement:
    """Return the agreement of a text engine with the model's own library; measure and record it at its first use.

    Args:
        folder: where the home keeps what belongs to the model's space.
        key: all that may change the engine's numbers.
        name: of the vectors, for messages: "The text vectors of …".
        reference: returns the library's vectors float32 (n, dim) of a fixed set of texts.
        embed: returns the engine's vectors float32 (n, dim) of these texts.

    Raises:
        ModelError: the engine doesn't agree with the reference; it must not be used.
    """
    name_by_key = f"{name} by {key}"
    return _ensure(
        folder / "text-agreement.json",
        key,
        lambda: measure_agreement(reference(), embed(), name_by_key, remedy="use another model"),
    )


def _ensure(file: Path, key: str, measure: Callable[[], Agreement], *, anew: bool = False) -> Agreement:
    records = _read_records(file)
    if anew or key not in records:
        records[key] = asdict(measure())
        atomic_files.write_json(file, records)
    return Agreement(**records[key])


def _read_records(file: Path) -> dict[str, dict[str, float]]:
    """Read the agreements by key; a missing or damaged record is left out, and measured again."""
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(records, dict):
        return {}
    fields = {"least_cosine", "largest_score_change"}
    return {key: record for key, record in records.items() if isinstance(record, dict) and record.keys() == fields}
