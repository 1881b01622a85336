"""The status of an image file: usable, or why not.

Belongs here: the values and the error that carries one. Not here: deciding it (`domain.images.file_inspection`,
`domain.images.decode`), writing it to a row (`domain.images.manifest`, `domain.embeddings.embedding_pipeline`).
"""

from enum import StrEnum


class Status(StrEnum):
    """Whether a file is a usable image, or why not."""

    OK = "ok"
    RAW_OF_IMAGE = "raw_of_image"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    OUTSIDE_ROOT = "outside_root"
    LOOP = "loop"
    BAD_NAME = "bad_name"


# A row with one of these lacks nothing: it is an image, or a further file of one.
FINE_STATUSES = frozenset({Status.OK, Status.RAW_OF_IMAGE})
# A later run may find such a file readable, so it tries the file again.
RETRIED_STATUSES = frozenset({Status.VANISHED, Status.UNREADABLE})


class UnusableImageError(Exception):
    """A file can't be decoded: the error becomes a row with its status and reason, and never ends a run."""

    def __init__(self, status: Status, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)
