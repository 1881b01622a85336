"""Embedding of query images.

Belongs here: the embedder that a process keeps for queries, the vector of a query image. Not here: finding similar
images (`domain.search.find_similar`), engines (`domain.inference`).
"""

import threading
from pathlib import Path

import numpy as np

from imgret_assets.domain.graph.connection import open_database
from imgret_assets.domain.graph.graph_state import read_state
from imgret_assets.domain.images.decode import decode
from imgret_assets.domain.images.image_status import UnusableImageError
from imgret_assets.domain.inference.embedder import Embedder, embed_one
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.models.resolution import resolve, resolve_space
from imgret_assets.domain.search.query import QueryImage, read_query
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ImageError
from imgret_assets.settings import Settings

_embedders: dict[tuple[str, str, str], Embedder] = {}
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


def _query_engine(home: Home, device: str) -> str:
    # A library that was embedded on a GPU is queried on machines without one. There OpenVINO is faster than torch in a
    # precision made for GPUs, and as close to the reference.
    on_gpu = home.record.engine == "torch" and home.record.precision not in (None, "float32")
    return "openvino" if home.settings.engine == "auto" and on_gpu and device == "cpu" else home.settings.engine


def embed_image(embedder: Embedder, image: QueryImage, *, max_pixels: int) -> np.ndarray:
    """Return the vector of a query image, float32 (dim,).

    Raises:
        ImageError: it is not a usable image.
    """
    try:
        min_size = embedder.space.preprocessing.min_decoded_size
        return embed_one(embedder, decode(image.data, max_pixels=max_pixels, min_size=min_size))
    except UnusableImageError as problem:
        raise ImageError(
            f"{image.name} can't be used as a query: {problem.status} ({problem.reason})", expected="an image file"
        ) from problem


def embed_query(settings: Settings, file: Path) -> np.ndarray:
    """Return the vector of a file, float32 (dim,), in the graph's space, or in the home's own if there is no graph."""
    home = open_home(settings)
    with open_database(settings) as database:
        state = read_state(database)
    embedder = query_embedder(home, state.model if state else None)
    return embed_image(embedder, read_query(file, max_bytes=settings.max_bytes), max_pixels=settings.max_pixels)
