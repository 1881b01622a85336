"""Inspection of one image file for the manifest: hash, size in pixels, format, or the status that says why not.

Belongs here: opening the file, and the status of a file that can't be read or is no usable image. Not here: which files
are inspected (`domain.images.manifest`), formats (`domain.images.decode`), decoding pixels
(`domain.images.image_reader`).
"""

import hashlib
import os
from typing import Any

from imgret_assets.domain.images.decode import read_header
from imgret_assets.domain.images.decoder_crashes import decoding, is_suspect
from imgret_assets.domain.images.file_reading import chunks_within, open_image_file, read_within
from imgret_assets.domain.images.files import status_of_os_error
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.images.raw_pairs import find_usable_jpeg, shot_stamp
from imgret_assets.domain.objects.stores import check_store_of
from imgret_assets.settings import DEFAULT_MAX_BYTES

# Grows when a row gets further facts from a file's header: manifests with rows of an older version are then refreshed
# once (`domain.images.manifest`). Nothing is embedded again for it.
INSPECTION_VERSION = 4


def inspect_file(row: dict[str, Any], max_pixels: int, max_bytes: int = DEFAULT_MAX_BYTES) -> dict[str, Any]:
    """Complete a listed row with the file's hash, size in pixels and format, or with the status that says why not.

    Args:
        row: a listed row, with the file's `location` as bytes; it is changed and returned. If it has the `sha256` of
            an unchanged file, only the header is read.
        max_pixels: an image with more pixels is `too_large`.
        max_bytes: a file with more bytes is `too_large`; it is not read, and its row has no hash.

    Raises:
        ObjectStoreError: the store of an object fails as a whole.
    """
    # The stamp of the shot's files takes the place of the files once they have been looked at.
    jpegs, row["shot"] = row.get("shot"), None
    try:
        with open_image_file(os.fsdecode(row["location"]), max_bytes=max_bytes) as file:
            if row.get("sha256") is None:
                digest = hashlib.sha256()
                for chunk in chunks_within(file, max_bytes=max_bytes):
                    digest.update(chunk)
                row["sha256"] = digest.hexdigest()
            row["shot"] = shot_stamp(jpegs, max_bytes=max_bytes)
            if os.fstat(file.fileno()).st_size == 0:
                row["status"], row["error"] = Status.EMPTY, "the file has no bytes"
                return row
            if jpegs is not None and _is_raw_of_image(row, jpegs, max_pixels, max_bytes):
                return row
            suspected = read_within(file) if is_suspect(row["sha256"]) else None
            file.seek(0)
            with decoding(row["sha256"], suspected, max_pixels=max_pixels):
                header = read_header(file, max_pixels=max_pixels)
    except UnusableImageError as problem:
        row["status"], row["error"] = problem.status, problem.reason
    except OSError as error:
        check_store_of(error)
        row["status"], row["error"] = status_of_os_error(error)
    else:
        row.update(width=header.width, height=header.height, format=header.format, status=Status.OK, error=None)
        row.update(decoding=header.decoding or None, note=header.note, frames=header.frames)
        row.update(taken=header.exif.taken, camera=header.exif.camera)
        if header.depth is not None:
            row.update(channels=header.depth.channels, bits=header.depth.bits)
    return row


def _is_raw_of_image(row: dict[str, Any], jpegs: str, max_pixels: int, max_bytes: int) -> bool:
    """Give the row of a camera raw file whose shot has a usable JPEG its status; return whether there is one.

    Args:
        row: the row; its `shot` is emptied if a JPEG could not be read, so that the next run looks again.
        jpegs: the JPEG files of the shot (`raw_pairs.shot_text`).
        max_pixels: as in `inspect_file`.
        max_bytes: as in `inspect_file`.
    """
    shot = find_usable_jpeg(jpegs, max_pixels=max_pixels, max_bytes=max_bytes)
    if not shot.is_final:
        row["shot"] = ""
    if shot.image is None:
        return False
    row["status"], row["raw_of"] = Status.RAW_OF_IMAGE, shot.image
    row["error"] = f"the raw file of {shot.image}, which counts as the image"
    return True
