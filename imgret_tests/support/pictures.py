"""Pictures the tests draw themselves.

Belongs here: small pictures and files of them. Not here: files with something wrong (`odd_files.py`).
"""

import io

import numpy as np
from PIL import Image

from imgret_assets.image_roots import AnyRoot, as_roots


def picture(seed: int, size: tuple[int, int] = (40, 30), family: int | None = None) -> Image.Image:
    """An RGB picture of coloured blocks; pictures of one family differ a little, others a lot."""
    base = np.random.default_rng(1000 + (seed if family is None else family)).uniform(0, 255, (4, 4, 3))
    if family is not None:
        base = base + np.random.default_rng(seed).normal(0, 18, base.shape)
    small = Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def picture_bytes(seed: int, *, family: int | None = None, form: str = "PNG") -> bytes:
    """The bytes of `picture` as a file."""
    buffer = io.BytesIO()
    picture(seed, family=family).save(buffer, form)
    return buffer.getvalue()


def write_pictures(root: AnyRoot, count: int, *, families: int = 5, start: int = 0) -> list[str]:
    """Write `count` PNG files in `families` folders; their relative paths, in order of their seeds."""
    paths = []
    for seed in range(start, start + count):
        path = f"family{seed % families}/picture{seed:04d}.png"
        as_roots(root).local(path).parent.mkdir(parents=True, exist_ok=True)
        as_roots(root).local(path).write_bytes(picture_bytes(seed, family=seed % families))
        paths.append(path)
    return paths
