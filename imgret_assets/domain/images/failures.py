"""Status of a file that can't be decoded: what is wrong with it, found in the file and in the decoder's error.

Belongs here: which status and reason follow from a file's format, its structure and an error. Not here: the structure
of formats (`domain.images.file_formats`), decoding (`domain.images.decode`).

`truncated` is said only where bytes are missing, `unsupported` only of a format or form that no decoder is here for,
and `damaged` of a file that has all its bytes and whose content is wrong.
"""

import zlib

from imgret_assets.domain.images.file_formats import START_BYTES, TIFF, identify, missing_part
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.images.optional_decoders import missing_decoder

# Formats that are recognised only to say what is missing.
_WITHOUT_DECODER = ("Photoshop", "PAM")
# Words in decoders' messages about a form of a format that they don't know.
_UNSUPPORTED_HINTS = ("not available", "not supported", "unsupported", "cannot handle", "unknown", "no decode",
                      "requires the", "not implemented", "unrecognized", "decoder error -2")  # fmt: skip
# Words in messages about missing bytes, for a file whose structure does not show it.
_MISSING_HINTS = ("truncated", "not enough", "eof", "end of file", "ends before")


def failure_of_start(start: bytes) -> UnusableImageError | None:
    """Return why a file can't be decoded by its first bytes alone; None if they don't say so.

    Args:
        start: the first bytes of the file.
    """
    if not start:
        return UnusableImageError(Status.EMPTY, "the file has no bytes")
    form = identify(start)
    if form in _WITHOUT_DECODER:
        return UnusableImageError(Status.UNSUPPORTED, f"{form} images have no decoder here")
    return failure_of_format(form)


def failure_of_format(form: str | None) -> UnusableImageError | None:
    """Return why a file of a format can't be decoded: its decoder is not installed; None if nothing is missing."""
    missing = missing_decoder(form)
    return None if missing is None else UnusableImageError(Status.UNSUPPORTED, missing)


def failure_of(data: bytes, error: Exception) -> UnusableImageError:
    """Return the status and the reason of a file that no decoder could decode.

    Args:
        data: all bytes of the file.
        error: of the decoder that got furthest.
    """
    if isinstance(error, UnusableImageError):
        return error
    if isinstance(error, MemoryError | RecursionError):
        return UnusableImageError(Status.TOO_LARGE, f"not enough memory to decode it ({error})")
    if (early := failure_of_start(data[:START_BYTES])) is not None:
        return early
    form = identify(data[:START_BYTES])
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if form is None and type(error).__name__ == "UnidentifiedImageError":
        return UnusableImageError(
            Status.NOT_AN_IMAGE, f"its first bytes are {data[:8]!r}, which no known image format has"
        )
    if (missing := missing_part(data, form)) is not None:
        return UnusableImageError(Status.TRUNCATED, f"{missing} ({reason})")
    # libheif's words for a reference that leads nowhere, which is damage.
    text = str(error).lower().replace("unsupported or non-existing", "non-existing")
    if isinstance(error, NotImplementedError) or any(hint in text for hint in _UNSUPPORTED_HINTS):
        return UnusableImageError(Status.UNSUPPORTED, reason)
    if form is None and any(hint in text for hint in _MISSING_HINTS):
        return UnusableImageError(Status.TRUNCATED, reason)
    if form == TIFF and not _is_damage(error):
        return UnusableImageError(Status.UNSUPPORTED, f"a form of TIFF without a decoder ({reason})")
    return UnusableImageError(Status.DAMAGED, f"{form or 'TGA'} with all its bytes and wrong content ({reason})")


def _is_damage(error: Exception) -> bool:
    """Return whether an error says that compressed bytes are wrong."""
    return isinstance(error, zlib.error) or type(error).__module__.startswith("imagecodecs")
