"""Camera raw files: small DNGs, written by tifffile.

Belongs here: the bytes of files that LibRaw can decode. Not here: TIFFs of other forms (`picture_forms`).
"""

import io

import numpy as np
import tifffile

_CFA = 32803
_RED, _GREEN, _BLUE = 40_000, 6_000, 2_000


def dng(width: int = 64, height: int = 48, *, orientation: int = 1) -> bytes:
    """Return a DNG whose sensor saw red on the left and blue on the right.

    Args:
        width: of the sensor in pixels, even.
        height: of the sensor in pixels, even.
        orientation: as in EXIF, in which the image is shown.
    """
    mosaic = np.full((height, width), _GREEN, np.uint16)
    is_left = np.arange(width) < width // 2
    mosaic[0::2, 0::2] = np.where(is_left, _RED, _BLUE)[0::2]
    mosaic[1::2, 1::2] = np.where(is_left, _BLUE, _RED)[1::2]
    tags = [
        (271, 2, None, "imgret", True),
        (272, 2, None, "test", True),
        (274, 3, 1, orientation, True),
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, b"\0\1\1\2", True),
        (50706, 1, 4, b"\1\4\0\0", True),
        (50708, 2, None, "imgret test", True),
        (50717, 4, 1, 65535, True),
        (50721, 10, 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
        (50728, 5, 3, (1, 1, 1, 1, 1, 1), True),
        (50778, 3, 1, 21, True),
    ]
    file = io.BytesIO()
    tifffile.imwrite(file, mosaic, photometric=_CFA, extratags=tags, metadata=None, software=False)
    return file.getvalue()
