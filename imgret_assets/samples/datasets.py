"""Public data sets as sample images, through torchvision.

Belongs here: the download, and the names of the images. Not here: their folders (`folders`).
"""

import io
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from imgret_assets.errors import ImgretError, SettingError
from imgret_assets.samples.catalogue import SampleImage

TIMEOUT_S = 30.0
N_QUERIES = 5

# The class in torchvision, and the arguments of each part of the data set.
DATASETS: dict[str, tuple[str, tuple[dict[str, str], ...]]] = {
    "caltech101": ("Caltech101", ({},)),
    "oxford-iiit-pet": ("OxfordIIITPet", ({"split": "trainval"}, {"split": "test"})),
    "flowers102": ("Flowers102", ({"split": "train"}, {"split": "val"}, {"split": "test"})),
}


def fetch_images(name: str, scratch: Path, progress: Callable[[int, int], None] | None = None) -> Iterator[SampleImage]:
    """Download a data set and yield its images, labelled by their class.

    Args:
        name: one of DATASETS.
        scratch: folder of the download; the caller removes it.
        progress: called with the number of images yielded so far and in total.

    Yields:
        The images as JPEG; the first of some classes is a `query`.

    Raises:
        ImgretError: it cannot be downloaded.
    """
    if name not in DATASETS:
        raise SettingError(f"The data set {name!r} is unknown", expected=f"drawn, {', '.join(DATASETS)}")
    with _named_errors(name):
        parts = _download(name, scratch)
        names = [_slug(label) for label in _class_names(parts[0])]
    total = sum(len(part) for part in parts)
    query_classes = set(range(0, len(names), max(1, len(names) // N_QUERIES)))
    counts: dict[int, int] = {}
    done = 0
    for part in parts:
        for i in range(len(part)):
            with _named_errors(name):
                image, label = part[i]
            counts[label] = counts.get(label, 0) + 1
            yield _encoded(image, names[label], counts[label], query=counts[label] == 1 and label in query_classes)
            done += 1
            if progress:
                progress(done, total)


def _download(name: str, scratch: Path) -> list[Any]:
    from torchvision import datasets

    kind, parts = DATASETS[name]
    scratch.mkdir(parents=True, exist_ok=True)
    # torchvision sets no timeout for its downloads.
    default_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        return [getattr(datasets, kind)(str(scratch), download=True, **part) for part in parts]
    finally:
        socket.setdefaulttimeout(default_timeout)


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turn the errors of a download in the block into `ImgretError`."""
    try:
        yield
    except ImportError as error:
        raise ImgretError(
            f"The data set {name!r} needs a package that is not installed ({error})",
            remedy="install it (caltech101 needs gdown and scipy, flowers102 scipy), or use the drawn samples: "
            "`imgret samples`",
        ) from error
    except (OSError, RuntimeError, HTTPException) as error:
        raise ImgretError(
            f"The data set {name!r} cannot be downloaded ({type(error).__name__}: {error})",
            remedy="use the drawn samples (`imgret samples`) or your own images (`imgret run --images DIR`), "
            "or try again with a network",
        ) from error


def _class_names(dataset: Any) -> list[str]:
    return list(dataset.categories if hasattr(dataset, "categories") else dataset.classes)


def _slug(label: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in label.lower()).strip("-") or "unnamed"


def _encoded(image: Any, label: str, number: int, *, query: bool) -> SampleImage:
    data = io.BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=95)
    path = f"{label}.jpg" if query else f"{label}/{label}-{number:04d}.jpg"
    return SampleImage(path, label, label, "query" if query else "photo", "", data.getvalue())
