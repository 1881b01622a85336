"""Tests of the status of a file that can't be decoded; odd files are decoded in `test_decode.py`."""

import pytest

from imgret_assets.domain.images.failures import failure_of, failure_of_start
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_tests.support.odd_files import saved
from imgret_tests.support.pictures import picture

PNG = saved(picture(1), "PNG")


@pytest.mark.parametrize(
    ("data", "error", "status"),
    [
        (b"", ValueError("any"), Status.EMPTY),
        (PNG, ValueError("wrong"), Status.DAMAGED),
        (PNG[:-9], ValueError("wrong"), Status.TRUNCATED),
        (PNG[:-9], ValueError("unsupported"), Status.TRUNCATED),
        (PNG, NotImplementedError("any"), Status.UNSUPPORTED),
        (PNG, OSError("Unknown compression"), Status.UNSUPPORTED),
        (PNG, MemoryError("no more"), Status.TOO_LARGE),
        (PNG, UnusableImageError(Status.LOOP, "kept"), Status.LOOP),
        (b"\0\0\2" + bytes(99), OSError("image file is truncated"), Status.TRUNCATED),
        (b"\0\0\2" + bytes(99), OSError("broken"), Status.DAMAGED),
    ],
)
def test_the_status_follows_from_the_file_first(data: bytes, error: Exception, status: Status) -> None:
    assert failure_of(data, error).status is status


def test_first_bytes_alone_say_that_there_is_no_decoder() -> None:
    assert failure_of_start(PNG[:64]) is None
    failure = failure_of_start(b"8BPS\0\1")
    assert failure is not None
    assert (failure.status, failure.reason) == (
        Status.UNSUPPORTED,
        "Photoshop images have no decoder here",
    )
