"""Public datasets as sample images, through torchvision.

Belongs here: downloading, and giving the photos names. Not here: where they are put (`samples`).
"""

import io
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from imgret_assets.errors import ImgretError, SettingError
from imgret_assets.samples.catalogue import Shot

TIMEOUT_S = 30.0
N_QUERIES = 5

# torchvision's class, and the arguments of each of its parts.
DATASETS: dict[str, tuple[str, tuple[dict[str, str], ...]]] = {
    "caltech101": ("Caltech101", ({},)),
    "oxford-iiit-pet": ("OxfordIIITPet", ({"split": "trainval"}, {"split": "test"})),
    "flowers102": ("Flowers102", ({"split": "train"}, {"split": "val"}, {"split": "test"})),
}


def fetch_photos(name: str, scratch: Path, progress: Callable[[int, int], None] | None = None) -> Iterator[Shot]:
    """Download a dataset and give its photos, each labelled by its class.

    Args:
        name: one of DATASETS.
        scratch: a folder for the download; the caller removes it.
        progress: called with the photos given so far and their number.

    Yields:
        The photos as JPEG; the first of some classes is a `query` instead.

    Raises:
        ImgretError: it can't be downloaded.
    """
    if name not in DATASETS:
        raise SettingError(f"The dataset {name!r} is unknown", expected=f"drawn, {', '.join(DATASETS)}")
    with _reported(name):
        parts = _download(name, scratch)
        names = [_slug(label) for label in _class_names(parts[0])]
    total = sum(len(part) for part in parts)
    asked = set(range(0, len(names), max(1, len(names) // N_QUERIES)))
    counts: dict[int, int] = {}
    done = 0
    for part in parts:
        for i in range(len(part)):
            with _reported(name):
                picture, label = part[i]
            counts[label] = counts.get(label, 0) + 1
            yield _shot(picture, names[label], counts[label], query=counts[label] == 1 and label in asked)
            done += 1
            if progress:
                progress(done, total)


def _download(name: str, scratch: Path) -> list[Any]:
    from torchvision import datasets

    kind, parts = DATASETS[name]
    scratch.mkdir(parents=True, exist_ok=True)
    # torchvision opens its addresses without a time limit of its own.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        return [getattr(datasets, kind)(str(scratch), download=True, **part) for part in parts]
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _reported(name: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ImgretError(
            f"The dataset {name!r} needs a package that is not installed ({error})",
            remedy="install it (caltech101 needs gdown and scipy, flowers102 scipy), or use the drawn samples: "
            "`imgret samples`",
        ) from error
    except (OSError, RuntimeError, HTTPException) as error:
        raise ImgretError(
            f"The dataset {name!r} can't be downloaded ({type(error).__name__}: {error})",
            remedy="use the drawn samples (`imgret samples`) or your own pictures (`imgret run --images DIR`), "
            "or try again with a network",
        ) from error


def _class_names(dataset: Any) -> list[str]:
    return list(dataset.categories if hasattr(dataset, "categories") else dataset.classes)


def _slug(label: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in label.lower()).strip("-") or "unnamed"


def _shot(picture: Any, label: str, number: int, *, query: bool) -> Shot:
    data = io.BytesIO()
    picture.convert("RGB").save(data, "JPEG", quality=95)
    path = f"{label}.jpg" if query else f"{label}/{label}-{number:04d}.jpg"
    return Shot(path, label, label, "query" if query else "photo", "", data.getvalue())
