"""Tests of reading image files: kinds of files, their size, memory."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imgret_assets.domain.images.file_reading import (
    chunks_within,
    failure_of_kind,
    open_image_file,
    read_image_file,
    read_within,
)
from imgret_assets.domain.images.image_status import Status, UnusableImageError

DEADLINE_S = 10


def failure_of(read: Callable[[], Any]) -> UnusableImageError:
    """Return the error of a function that must end in time."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            read()
        except BaseException as error:  # noqa: BLE001, RUF100 - the test looks at it
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert not thread.is_alive(), "it waits"
    (error,) = errors
    assert isinstance(error, UnusableImageError)
    return error


def test_the_bytes_of_a_file_and_of_a_link_to_it_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"content")
    (tmp_path / "link.png").symlink_to("a.png")
    assert read_image_file(tmp_path / "a.png", max_bytes=7) == b"content"
    assert read_image_file(tmp_path / "link.png", max_bytes=7) == b"content"


@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a device"])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        failure = failure_of_kind(path.stat().st_mode)
        listener.close()
        assert failure is not None
        assert failure.reason == "not a regular file but a socket"
        return
    failure = failure_of(lambda: read_image_file(path, max_bytes=100))
    assert (failure.status, failure.reason) == (Status.NOT_AN_IMAGE, f"not a regular file but {kind}")


def test_a_file_above_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "sparse.jpg"
    with file.open("wb") as opened:
        opened.truncate(2**42)
    failure = failure_of(lambda: read_image_file(file, max_bytes=10**9))
    assert failure.status == Status.TOO_LARGE
    assert failure.reason == "4,398,046,511,104 bytes, more than the 1,000,000,000 that IMGRET_MAX_BYTES allows"


def test_a_file_that_grows_while_it_is_hashed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "log.png"
    file.write_bytes(b"1234")
    with open_image_file(file, max_bytes=5) as opened:
        file.write_bytes(b"123456")
        with pytest.raises(UnusableImageError, match="more than the 5"):
            list(chunks_within(opened, max_bytes=5))


def test_a_file_that_does_not_fit_into_memory_is_too_large(tmp_path: Path) -> None:
    class FullMemory:
        def __init__(self, opened: Any) -> None:
            self.opened = opened

        def __getattr__(self, name: str) -> Any:
            return getattr(self.opened, name)

        def read(self, size: int) -> bytes:
            raise MemoryError(size)

    (tmp_path / "a.png").write_bytes(b"content")
    with open_image_file(tmp_path / "a.png", max_bytes=7) as opened:
        failure = failure_of(lambda: read_within(FullMemory(opened)))  # pyright: ignore[reportArgumentType]
    assert (failure.status, failure.reason) == (Status.TOO_LARGE, "not enough memory for its 7 bytes")
