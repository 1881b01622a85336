"""Files whose decoder ends the process: they are noted while they are decoded, and tried in a process of their own.

A fault in a native library (a segmentation fault, an abort) ends a run without an error that could be caught. What was
being decoded is noted in a file that outlives the process. The next run first decodes each of these files in a child
process: a file that ends the child becomes a row with a status. Its content is remembered, so that no run decodes it
again with the same decoders, whatever name it gets.

Belongs here: the notes, the suspects that an ended run left, trying one of them, the contents that end a process. Not
here: decoding (`.decode`), the child's program (`.decoder_child`), which row a status becomes (`.file_inspection`,
`.image_reader`).
"""

import fcntl
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import PIL

from imgret_assets.domain.images.decode import DECODER_VERSION
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.images.optional_decoders import decoder_versions
from imgret_assets.domain.storage.atomic_files import write_json
from imgret_assets.errors import DiskFullError, HomeError
from imgret_assets.wording import counted

_log = logging.getLogger(__name__)
# So many files can be noted at a time: more than any pool has threads.
_SLOTS = 64
_NAME = re.compile(rb"[0-9a-f]{64}")
_SLOT_BYTES = 65
# Far more than the largest image needs; a decoder that never ends would hold every later run.
CHILD_TIMEOUT_S = 300.0
_FAULTY = "faulty.json"


class _Notes:
    """The file with the names of what a process is decoding; locked as long as the process lives.

    Attributes:
        suspects: contents that an ended process was decoding.
        faulty: status and reason of the contents that end their decoder's process.
    """

    def __init__(self, folder: Path) -> None:
        self.suspects = set[str]()
        self._faulty_file = folder / _FAULTY
        self.faulty = self._read_faulty()
        self._free = list(range(_SLOTS))
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._take_over(folder)
        name = f"{os.getpid()}-{uuid.uuid4().hex}"
        self._file = os.open(folder / f".{name}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        # Visible only once it is locked: others take an unlocked file for that of an ended process.
        self._path = (folder / f".{name}").rename(folder / name)

    def add_faulty(self, name: str, problem: UnusableImageError) -> None:
        """Remember that a content ends its decoder's process."""
        self.suspects.discard(name)
        self.faulty = self._read_faulty() | {name: (problem.status, problem.reason)}
        with suppress(OSError, DiskFullError, HomeError):
            write_json(self._faulty_file, {"decoders": _decoders(), "contents": self.faulty})

    def _read_faulty(self) -> dict[str, tuple[Status, str]]:
        """Read the contents that ended a process; none where other decoders did, which may have been mended."""
        try:
            stored = json.loads(self._faulty_file.read_text(encoding="utf-8"))
            if stored["decoders"] == _decoders():
                return {name: (Status(status), str(reason)) for name, (status, reason) in stored["contents"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        return {}

    def close(self) -> None:
        # A suspect that was not met in this block stays one for the next: at most as many as there are slots.
        left = sorted(self.suspects)[:_SLOTS]
        try:
            for slot in range(_SLOTS if left else 0):
                self._write(slot, left[slot] if slot < len(left) else "")
            if not left:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._file)

    @contextmanager
    def noting(self, name: str) -> Iterator[None]:
        with self._lock:
            slot = self._free.pop() if self._free else None
        self._write(slot, name)
        try:
            yield
        finally:
            self._write(slot, "")
            if slot is not None:
                with self._lock:
                    self._free.append(slot)

    def _write(self, slot: int | None, name: str) -> None:
        # Without a note (a full disk), a crash costs a run and not only an image; that is no reason to end this one.
        if slot is not None:
            with suppress(OSError):
                os.pwrite(self._file, name.encode().ljust(_SLOT_BYTES, b" "), slot * _SLOT_BYTES)

    def _take_over(self, folder: Path) -> None:
        """Read and remove the notes of processes that ended while they decoded."""
        for path in folder.glob("[0-9]*-*"):
            with suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.suspects.update(name.decode() for name in _NAME.findall(file.read()))
                path.unlink()
        if self.suspects:
            _log.info(
                "An earlier run ended while it was decoding %s: what is left of that is tried in a process of its own.",
                counted(len(self.suspects), "image"),
            )


def _decoders() -> str:
    return f"{DECODER_VERSION} Pillow {PIL.__version__}, {decoder_versions()}"


_active: _Notes | None = None


@contextmanager
def watching(folder: Path) -> Iterator[None]:
    """Note what this process decodes until the block ends, and treat what ended processes noted as suspects.

    Args:
        folder: of the notes, one file for each process; created on first use.
    """
    global _active
    if _active is not None:
        yield
        return
    try:
        notes = _Notes(folder)
    except OSError as error:
        _log.debug("decoding without notes: %s", error)
        yield
        return
    _active = notes
    try:
        yield
    finally:
        _active = None
        notes.close()


def is_suspect(name: str) -> bool:
    """Return whether an earlier run ended while it was decoding the file (see `decoding`)."""
    return _active is not None and name in _active.suspects


@contextmanager
def decoding(name: str, data: bytes | None = None, *, max_pixels: int) -> Iterator[None]:
    """Note that a file is being decoded until the block ends; nothing where nobody watches.

    Args:
        name: the sha256 of the file's bytes.
        data: the bytes; None if it is no suspect.
        max_pixels: an image with more pixels is not decoded.

    Raises:
        UnusableImageError: an earlier run ended while it was decoding the file, and so did a child process, now or
            in a run before.
    """
    notes = _active
    if notes is None:
        yield
        return
    if name in notes.faulty:
        raise UnusableImageError(*notes.faulty[name])
    if name in notes.suspects and data is not None:
        try:
            try_in_child(data, max_pixels=max_pixels)
        except UnusableImageError as problem:
            notes.add_faulty(name, problem)
            raise
        notes.suspects.discard(name)
    with notes.noting(name):
        yield


def try_in_child(data: bytes, *, max_pixels: int, timeout_s: float = CHILD_TIMEOUT_S) -> None:
    """Decode a file's bytes in a child process, whose pixels are thrown away.

    Raises:
        UnusableImageError: the child was ended by a signal, or did not end in time.
    """
    command = [sys.executable, "-m", "imgret_assets.domain.images.decoder_child", str(max_pixels)]
    # The child finds the package wherever this process found it.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        ended = subprocess.run(
            command, input=data, env=environment, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        reason = f"its decoder did not end within {timeout_s:g} s, in a process of its own"
        raise UnusableImageError(Status.DAMAGED, reason) from error
    if ended.returncode >= 0:
        return
    reason = f"its decoder ended the process with {signal.Signals(-ended.returncode).name}"
    if -ended.returncode == signal.SIGKILL:
        raise UnusableImageError(Status.TOO_LARGE, f"{reason}, as where the memory does not suffice")
    raise UnusableImageError(Status.DAMAGED, reason)
