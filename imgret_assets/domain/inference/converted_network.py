"""A network in OpenVINO's form, in a folder of its own: converted once, checked at every load, compiled into a cache.

Belongs here: what image towers and text towers have in common. Not here: which network it is and what it is run on
(`domain.inference.openvino_engine`, `domain.inference.text_engine`), the checks of files
(`domain.inference.model_files`).
"""

import logging
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgret_assets.domain.inference import model_files
from imgret_assets.domain.storage import atomic_files, locks
from imgret_assets.errors import DiskFullError, ModelError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    import openvino

_log = logging.getLogger(__name__)

# The lock of a conversion, and what one that was killed leaves, in a space's folder.
CONVERSION_LOCK = "converting"
CONVERSION_LEFTOVERS = ".converting-*"
NETWORK_FILE = "model.xml"
_first_inference_lock = threading.Lock()
_inferred_before = False


def ensure_converted(
    file: Path, convert: Callable[[], object], *, lock_timeout_s: float, noun: str = "model", damage: str = ""
) -> None:
    """Convert a network if its files are missing or damaged; with `damage`, which says how, in any case.

    Args:
        file: the converted network, in a folder of its own in the space's folder.
        convert: writes that folder; it is called under the lock `converting`.
        lock_timeout_s: how long to wait for another process that converts, in seconds.
        noun: what is converted, for messages.
        damage: why the present files can't be used.

    Raises:
        LockTimeoutError: another process converts a network of the space and takes too long.
    """
    folder = file.parent
    if not damage and file.is_file() and not model_files.damaged_files(folder):
        return
    with locks.hold(folder.parent, [CONVERSION_LOCK], timeout_s=lock_timeout_s, purpose=f"converting a {noun}"):
        damaged = model_files.damaged_files(folder)
        if file.is_file() and not damaged and not damage:
            return
        if folder.exists():
            names = ", ".join(str(path) for path in damaged) or str(folder)
            detail = f" ({damage})" if damage else ""
            _log.warning("%s is damaged%s. The %s is converted again.", names, detail, noun)
            shutil.rmtree(folder)
        convert()


def trace(network: Any, example: Any, shape: Sequence[int], name: str) -> Any:
    """Return a torch network in OpenVINO's form.

    Args:
        network: a torch module in evaluation mode.
        example: a tensor of its input.
        shape: of the input.
        name: of the model, for messages.

    Raises:
        ModelError: OpenVINO can't run the network.
    """
    with named_conversion_errors(name), warnings.catch_warnings():
        import torch

        # OpenVINO traces in a way that torch deprecates, and attention checks shapes that never change: nothing a user
        # can change.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # pyright: ignore[reportPrivateImportUsage]
        with torch.inference_mode():
            return import_openvino().convert_model(network, example_input=example, input=list(shape))


@contextmanager
def named_conversion_errors(name: str) -> "Iterator[None]":
    """Turn OpenVINO's error at a conversion into a ModelError about the model of this name."""
    try:
        yield
    except RuntimeError as error:
        raise ModelError(
            f"OpenVINO can't run {name} ({first_line(error)})", remedy="set IMGRET_ENGINE=torch"
        ) from error


def write_converted(folder: Path, network: Any, name: str, write_more: Callable[[Path], object] | None = None) -> None:
    """Write a converted network to its folder, whole or not at all. The caller holds the lock `converting`.

    Args:
        folder: the folder, which does not exist.
        network: the network, in OpenVINO's form.
        name: of the model, for messages.
        write_more: writes other files to the folder that it is given.

    Raises:
        DiskFullError, HomeError: it can't be written.
    """
    space_folder = folder.parent
    with atomic_files.named_errors(space_folder):
        for leftover in space_folder.glob(CONVERSION_LEFTOVERS):
            # Of a conversion that was killed: the caller holds the lock.
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=".converting-", dir=space_folder))
        try:
            _save(network, temporary / NETWORK_FILE, name)
            if write_more is not None:
                write_more(temporary)
            record_conversion(temporary)
            temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def record_conversion(folder: Path) -> None:
    """Record the checks of the files of a converted network as they are."""
    model_files.record_checks(folder, sorted(file for file in folder.iterdir() if _is_checked(file)))


def _is_checked(file: Path) -> bool:
    return file.is_file() and file.name != model_files.NAME


def _save(network: Any, file: Path, name: str) -> None:
    """Write a network in OpenVINO's form.

    Raises:
        DiskFullError: no room for it.
    """
    try:
        import_openvino().save_model(network, file, compress_to_fp16=False)
    except RuntimeError as error:
        # OpenVINO reports a failed write as that of a C++ stream, which knows no cause.
        if "basic_ios" not in str(error) and atomic_files.has_room(file.parent):
            raise
        raise DiskFullError(
            f"No room on the disk for the converted model {name} in {file.parent.parent}",
            expected="4 bytes for each of its weights, and as many again for the compiled form",
            remedy="free some space or move IMGRET_HOME to a larger disk, then run again: it goes on where it was",
        ) from error


def compile_network(core: "openvino.Core", file: Path, *, hint: str, precision: str) -> "openvino.CompiledModel":
    """Compile a converted network for the CPU; the compiled form is kept beside it.

    Args:
        core: OpenVINO's core.
        file: the converted network.
        hint: OpenVINO's performance hint, `THROUGHPUT` or `LATENCY`.
        precision: OpenVINO's name of a precision, `f32` or `bf16`.
    """
    cache = file.parent / "compiled"
    for blob in model_files.remove_unchecked(cache, "*.blob"):
        _log.warning("%s is damaged. The model is compiled again.", blob)
    stored = set(cache.glob("*.blob"))
    compiled = core.compile_model(
        file,
        "CPU",
        {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": precision, "CACHE_DIR": str(cache)},
    )
    if (compiled_files := set(cache.glob("*.blob"))) != stored:
        model_files.record_checks(cache, sorted(compiled_files))
    return compiled


def infer_once_alone(compiled: "openvino.CompiledModel", batch: np.ndarray) -> None:
    """Run the first inference of this process while no other thread runs one.

    In it OpenVINO's Python binding makes tables of its own: it holds their lock, releases the interpreter's lock and
    asks for it again. Another thread that needs the tables at that moment holds the interpreter's lock and waits for
    theirs: both wait for good, and with them all threads of the process. Two first queries at once did that every
    second time.
    """
    global _inferred_before
    with _first_inference_lock:
        if _inferred_before:
            return
        request = compiled.create_infer_request()
        request.start_async({0: batch})
        request.wait()
        # Reading the result is part of it.
        request.get_output_tensor(0).data.copy()
        _inferred_before = True


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry package, which would report to its makers at every import."""
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


def openvino_version() -> str:
    """Return OpenVINO's version, such as `2026.1.0`; converted networks depend on it."""
    return import_openvino().get_version().split("-")[0]
