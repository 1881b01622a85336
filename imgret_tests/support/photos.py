"""Generated photos with duplicates of them, large enough for fingerprints and a real model.

Belongs here: photos and files of them under odd names. Not here: small images in families (`pictures.py`), files that
can't be read (`odd_files.py`).
"""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

ORIGINAL, EXACT_COPY, NEAR_COPY = "photo.png", "copies/same bytes.png", "copies/a tab\tand a\nbreak.jpg"
BAD_NAME = b"invalid \xff bytes.png"


def photo(seed: int) -> Image.Image:
    """Return an image with enough structure to differ from those of other seeds."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC)


def write_photos(root: Path) -> None:
    """Write an original, an exact and a near-duplicate of it, and a file whose name is not valid UTF-8."""
    (root / "copies").mkdir()
    photo(1).save(root / ORIGINAL)
    shutil.copy(root / ORIGINAL, root / EXACT_COPY)
    photo(1).resize((320, 240), Image.Resampling.LANCZOS).save(root / NEAR_COPY, "JPEG", quality=85)
    with open(bytes(root) + b"/" + BAD_NAME, "wb") as file:  # noqa: PTH123 - the name is bytes
        photo(2).save(file, "PNG")
