"""The program of a child process that decodes an image file's bytes, given on its standard input, and prints nothing.

Belongs here: decoding in every way in which a run does. Not here: starting the process (`.decoder_crashes`).
"""

import contextlib
import io
import sys

from imgret_assets.domain.images.decode import decode, read_header
from imgret_assets.domain.images.image_status import UnusableImageError

_SMALL = (64, 64)


def main(max_pixels: int) -> None:
    """Decode the bytes. A file that can't be decoded is no error here: the caller's process decides what it is."""
    data = sys.stdin.buffer.read()
    with contextlib.suppress(UnusableImageError):
        read_header(io.BytesIO(data), max_pixels=max_pixels)
        decode(data, max_pixels=max_pixels, min_size=_SMALL)
        decode(data, max_pixels=max_pixels)


if __name__ == "__main__":
    main(int(sys.argv[1]))
