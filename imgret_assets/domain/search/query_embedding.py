"""Embedding of query images and texts.

Belongs here: the embedder and the text encoder that a process keeps for queries, the vector of a query image or another
part of a query. Not here: combining them (`domain.search.query_parts`), finding similar images
(`domain.search.find_similar`), engines (`domain.inference`).
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from imgret_assets.domain.graph.connection import open_database
from imgret_assets.domain.graph.graph_state import read_state
from imgret_assets.domain.images.crop import Crop
from imgret_assets.domain.images.decode import decode
from imgret_assets.domain.images.image_status import UnusableImageError
from imgret_assets.domain.inference.embedder import Embedder, embed_one
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.inference.text_engine import TextEncoder, TextVector
from imgret_assets.domain.models.resolution import check_text_tower, resolve, resolve_space
from imgret_assets.domain.numerics.vectors import unusable_vectors
from imgret_assets.domain.search.query import QueryImage, read_query
from imgret_assets.domain.search.query_parts import QueryPart, QueryText, QueryVector, StoredImage
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ImageError, QueryError
from imgret_assets.settings import Settings

_embedders: dict[tuple[str, str, str], Embedder] = {}
_text_encoders: dict[tuple[str, str], TextEncoder] = {}
_embedders_lock = threading.Lock()


def query_embedder(home: Home, space: str | None) -> Embedder:
    """Return the embedder of a space, created once per process; of the home's own model if `space` is None.

    Raises:
        ModelError: the home doesn't know the space.
    """
    key = (str(home.path), space or "", home.settings.device)
    with _embedders_lock:
        if key not in _embedders:
            model = resolve_space(home, space) if space else resolve(home)
            # One image is fast on any CPU, and looking for a GPU would import torch.
            device = "cpu" if home.settings.device == "auto" else home.settings.device
            _embedders[key] = choose_embedder(home, model, device=device, engine=_query_engine(home, device))
        return _embedders[key]


def query_text_encoder(home: Home, space: str) -> TextEncoder:
    """Return the text encoder of a space, created once per process; nothing is loaded yet.

    Raises:
        QueryError: the model of the space has no text tower.
        ModelError: the home doesn't know the space.
    """
    key = (str(home.path), space)
    with _embedders_lock:
        if key not in _text_encoders:
            model = resolve_space(home, space)
            folder, timeout_s = home.path / "models", home.settings.lock_timeout_s
            _text_encoders[key] = TextEncoder(model, folder, lock_timeout_s=timeout_s)
        return _text_encoders[key]


def _query_engine(home: Home, device: str) -> str:
    # A library that was embedded on a GPU is queried on machines without one. There OpenVINO is faster than torch in a
    # precision made for GPUs, and as close to the reference.
    on_gpu = home.record.engine == "torch" and home.record.precision not in (None, "float32")
    return "openvino" if home.settings.engine == "auto" and on_gpu and device == "cpu" else home.settings.engine


def embed_part(
    embedder: Embedder,
    part: QueryPart,
    *,
    max_pixels: int,
    stored: Mapping[str, np.ndarray] | None = None,
    contents: Mapping[str, np.ndarray] | None = None,
    texts: Mapping[str, TextVector] | None = None,
) -> np.ndarray:
    """Return the vector of one part of a query, float32 (dim,).

    Args:
        embedder: of the graph's space.
        part: an image file, an image of the graph, a text or a vector.
        max_pixels: an image with more pixels is refused.
        stored: the stored vectors of images of the graph, by path.
        contents: the stored vectors of the contents of image files, by sha256; such a file is not embedded again.
        texts: the vectors of texts (`encode_texts`).

    Raises:
        ImageError: the image can't be used, is not in the graph, or the crop is not inside it.
        QueryError: the model of the space has no text tower, or the vector is of another dimension or has no direction.
    """
    match part.source:
        case QueryImage() as image:
            if part.crop is None and contents and (vector := contents.get(image.sha256)) is not None:
                return vector
            return embed_image(embedder, image, max_pixels=max_pixels, crop=part.crop)
        case StoredImage(path=path):
            if stored is None or path not in stored:
                raise ImageError(f"{path} is not in the graph", expected="the path of an image of the library")
            return np.asarray(stored[path], np.float32)
        case QueryVector(vector=vector):
            return _checked_vector(embedder, part.name, vector)
        case QueryText(text=text):
            if texts is None or text not in texts:
                check_text_tower(embedder.space)
                raise QueryError(f"The text {part.name!r} has no vector")
            return texts[text].vector


def _checked_vector(embedder: Embedder, name: str, vector: np.ndarray) -> np.ndarray:
    rows = np.asarray(vector, np.float32)
    dim = embedder.space.dim
    if rows.shape != (dim,):
        raise QueryError(f"The vector {name} has shape {rows.shape}", expected=f"({dim},)")
    if unusable_vectors(rows[np.newaxis])[0]:
        raise QueryError(f"The vector {name} is zero or not finite")
    return rows


def encode_texts(encoder: TextEncoder, parts: Sequence[QueryPart]) -> dict[str, TextVector]:
    """Return the vectors of the texts of a query, by text.

    Raises:
        QueryError: a text has no words.
        ModelError: the text tower can't be used.
    """
    return {part.source.text: encoder.encode(part.source.text) for part in parts if isinstance(part.source, QueryText)}


def embed_image(embedder: Embedder, image: QueryImage, *, max_pixels: int, crop: Crop | None = None) -> np.ndarray:
    """Return the vector of a query image, or of a part of it, float32 (dim,).

    Raises:
        ImageError: it is not a usable image, or the crop is not inside it.
    """
    try:
        # Pixels of a crop are those of the whole image, which a scaled decoding has no longer.
        min_size = embedder.space.preprocessing.min_decoded_size if crop is None else None
        decoded = decode(image.data, max_pixels=max_pixels, min_size=min_size)
        return embed_one(embedder, decoded if crop is None else _cut(decoded, crop, image.name))
    except UnusableImageError as problem:
        raise ImageError(
            f"{image.name} can't be used as a query: {problem.status} ({problem.reason})", expected="an image file"
        ) from problem


def _cut(image: Image.Image, crop: Crop, name: str) -> Image.Image:
    try:
        return crop.cut(image)
    except ImageError as error:
        raise ImageError(f"{name}: {error.found}", expected=error.expected) from error


def embed_query(settings: Settings, file: Path) -> np.ndarray:
    """Return the vector of a file, float32 (dim,), in the graph's space, or in the home's own if there is no graph."""
    home = open_home(settings)
    with open_database(settings) as database:
        state = read_state(database)
    embedder = query_embedder(home, state.model if state else None)
    return embed_image(embedder, read_query(file, max_bytes=settings.max_bytes), max_pixels=settings.max_pixels)
