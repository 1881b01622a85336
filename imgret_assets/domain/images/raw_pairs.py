"""Camera raw files beside the JPEG of the same shot: one image in two files, of which the JPEG counts.

Belongs here: whether a JPEG of the shot can be used, and the stamp that says whether this must be found out again. Not
here: which files have the name of one shot (`domain.images.raw_names`, `domain.images.files`), rows
(`domain.images.file_inspection`, `domain.images.manifest`).

The JPEG files may be in another shard than the raw file, and a run may list that shard alone. So nothing is taken from
the row of a JPEG: it is decoded here, at a fraction of its size.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from imgret_assets.domain.images.decode import decode
from imgret_assets.domain.images.decoder_crashes import decoding
from imgret_assets.domain.images.file_reading import read_image_file
from imgret_assets.domain.images.files import Candidate
from imgret_assets.domain.images.image_status import RETRIED_STATUSES, UnusableImageError

# Decoded at least at this size: all bytes of a JPEG are read for it.
_SIDE = 64


@dataclass(frozen=True)
class Shot:
    """The JPEG files of a raw file's shot.

    Attributes:
        image: path of the first JPEG that can be decoded; None for none.
        is_final: False if a JPEG could not be read, so that the next run tries again.
    """

    image: str | None
    is_final: bool


def shot_text(jpegs: Sequence[Candidate]) -> str | None:
    """Return the JPEG files of a shot as text, for a listing; None for no file."""
    if not jpegs:
        return None
    return json.dumps([(jpeg.path, jpeg.location, *jpeg.stat_fingerprint) for jpeg in jpegs])


def shot_stamp(text: str | None, *, max_bytes: int) -> str | None:
    """Return a text that differs if the JPEG files of a shot, or which are small enough, do; None for no file."""
    if text is None:
        return None
    are_read = [length <= max_bytes for _, _, length, *_ in json.loads(text)]
    return hashlib.blake2b(f"{are_read} {text}".encode(), digest_size=8).hexdigest()


def shot_times(text: str | None) -> list[int]:
    """Return the times of the last changes of a shot's JPEG files, in ns."""
    return [] if text is None else [time for _, _, _, *times, _ in json.loads(text) for time in times]


def find_usable_jpeg(text: str | None, *, max_pixels: int, max_bytes: int) -> Shot:
    """Decode the JPEG files of a shot until one can be used.

    Args:
        text: the files (`shot_text`).
        max_pixels: an image with more pixels can't be used.
        max_bytes: a file with more bytes can't be used.
    """
    is_final = True
    for path, location, *_ in [] if text is None else json.loads(text):
        try:
            data = read_image_file(location, max_bytes=max_bytes)
            with decoding(hashlib.sha256(data).hexdigest(), data, max_pixels=max_pixels):
                decode(data, max_pixels=max_pixels, min_size=(_SIDE, _SIDE))
        except UnusableImageError as problem:
            is_final = is_final and problem.status not in RETRIED_STATUSES
        except OSError:
            is_final = False
        else:
            return Shot(path, is_final)
    return Shot(None, is_final)
