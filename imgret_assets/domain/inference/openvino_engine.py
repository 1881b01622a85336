"""The OpenVINO engine: runs a model on the CPU at several times torch's rate, without importing torch.

Belongs here: its input and precision, asynchronous inference. Not here: the files of a converted network
(`domain.inference.converted_network`), models and weights (`domain.models`), choosing an engine
(`domain.inference.engine_selection`), the proof that its vectors are right (`domain.inference.engine_agreement`).
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from imgret_assets.domain.inference import engine_agreement, model_files
from imgret_assets.domain.inference.converted_network import (
    compile_network,
    ensure_converted,
    import_openvino,
    infer_once_alone,
    named_conversion_errors,
    openvino_version,
    record_conversion,
    trace,
    write_converted,
)
from imgret_assets.domain.inference.embedder import DEFAULT_BATCH_SIZE, check_choices
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.resolution import Model
from imgret_assets.errors import ModelError, SettingError, first_line
from imgret_assets.settings import DEFAULT_LOCK_TIMEOUT_S

if TYPE_CHECKING:
    import openvino

_PRECISION_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEmbedder:
    """Runs a model with OpenVINO. It converts the model once for a home, which needs torch, and never again."""

    family = "openvino"

    def __init__(
        self,
        model: Model,
        folder: Path,
        *,
        precision: str = "auto",
        batch_size: int = DEFAULT_BATCH_SIZE,
        lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
    ) -> None:
        """Note what to load; nothing is loaded yet.

        Args:
            model: the model.
            folder: where the home keeps converted and compiled models.
            precision: `float32`, `bfloat16` on a CPU that has it, or `auto`: bfloat16 if the CPU has it and the vectors
                agree with the reference, else float32.
            batch_size: images after which a caller may expect vectors.
            lock_timeout_s: how long to wait for another process that converts the same model, in seconds.

        Raises:
            SettingError: there is no such precision, or the batch size is below 1.
        """
        check_choices(precision, batch_size)
        if precision not in ("auto", *_PRECISION_HINTS):
            raise SettingError(f"precision is {precision!r} with OpenVINO", expected="auto, float32 or bfloat16")
        self.model = model
        self.folder = folder
        self.batch_size = batch_size
        self.forward_s = 0.0
        self.requested_precision = precision
        self._lock_timeout_s = lock_timeout_s
        self._precision: str | None = None
        self._compiled: openvino.CompiledModel | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Reach another process unloaded, with the precision that this one has chosen."""
        options = {
            "precision": self._precision or self.requested_precision,
            "batch_size": self.batch_size,
            "lock_timeout_s": self._lock_timeout_s,
        }
        return partial(type(self), **options), (self.model, self.folder)

    @property
    def space(self) -> EmbeddingSpace:
        """The model's space."""
        return self.model.space

    @property
    def engine(self) -> str:
        """What computes, such as `openvino-cpu-float32`; loads the model where the precision is still to be chosen."""
        if self.requested_precision == "auto":
            self.load()
        return f"openvino-cpu-{self._precision or self.requested_precision}"

    @property
    def loaded(self) -> bool:
        """True once the model is in memory."""
        return self._compiled is not None

    @property
    def space_folder(self) -> Path:
        """Where the home keeps what belongs to the model's space."""
        return self.folder / self.space.id

    @property
    def converted(self) -> Path:
        """The file of the converted network; it depends on the space and on OpenVINO's version."""
        return self.space_folder / f"openvino-{openvino_version()}" / "model.xml"

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return an RGB image as the engine takes it, uint8 (height, width, 3)."""
        return self.space.preprocessing.resize_and_crop(image)

    def embed(self, batch: np.ndarray) -> np.ndarray:
        """Return the vectors float32 (n, dim) of a batch uint8 (n, height, width, 3).

        Raises:
            ModelError: the network can't be converted, or its vectors don't agree with torch's.
        """
        vectors = np.empty((len(batch), self.space.dim), dtype=np.float32)
        for row, vector in self.stream((str(row), image) for row, image in enumerate(batch)):
            vectors[int(row)] = vector
        return vectors

    def stream(self, images: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the vectors float32 (dim,) of images uint8 (height, width, 3), each with its key, in their order.

        Each image is a request of its own: its activations stay in a core's cache, and a vector does not depend on the
        other images of a batch. Twice as many requests as run at the same time are started, so that cores don't idle
        while the caller fetches the next image. Requests are created as they are needed: a query needs one.

        The caller waits for requests; OpenVINO doesn't call back. For a callback its threads need the interpreter's
        lock, and threads that ask for it while the interpreter ends were seen to abort the process or to hang it.
        """
        compiled = self.load()
        parallel_requests = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        max_started = parallel_requests + min(parallel_requests, 16)
        idle: list[openvino.InferRequest] = []
        started: deque[tuple[str, openvino.InferRequest]] = deque()
        try:
            for key, image in images:
                if len(started) == max_started:
                    yield self._finish_oldest(started, idle)
                if not idle:
                    idle.append(compiled.create_infer_request())
                request = idle.pop()
                request.start_async({0: image[np.newaxis]})
                started.append((key, request))
            while started:
                yield self._finish_oldest(started, idle)
        finally:
            for _, request in started:
                request.wait()

    def _finish_oldest(
        self, started: "deque[tuple[str, openvino.InferRequest]]", idle: "list[openvino.InferRequest]"
    ) -> tuple[str, np.ndarray]:
        """Wait for the oldest request; all take the same time, so none of the younger ones waits long for it."""
        key, request = started.popleft()
        request.wait()
        self.forward_s += request.latency / 1000
        vector = request.get_output_tensor(0).data[0].copy()
        idle.append(request)
        return key, vector

    def load(self) -> "openvino.CompiledModel":
        """Return the compiled network; the first call converts, compiles and checks it.

        Raises:
            ModelError: OpenVINO can't run it, or its vectors don't agree with torch's.
            LockTimeoutError: another process converts it and takes too long.
        """
        with self._lock:
            if self._compiled is None:
                self._ensure_converted()
                # Files of an earlier version have no checks: their vectors are compared with the reference again.
                is_proven = model_files.has_checks(self.converted.parent)
                try:
                    self._compiled, self._precision = self._compile_named()
                except ModelError as error:
                    if is_proven:
                        raise
                    self._ensure_converted(damage=first_line(error))
                    self._compiled, self._precision = self._compile_named()
                if not is_proven:
                    record_conversion(self.converted.parent)
            return self._compiled

    def _ensure_converted(self, damage: str = "") -> None:
        ensure_converted(self.converted, self.convert, lock_timeout_s=self._lock_timeout_s, damage=damage)

    def _compile_named(self) -> "tuple[openvino.CompiledModel, str]":
        try:
            return self.compile()
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO can't load {self.converted} ({first_line(error)})",
                remedy=f"remove {self.converted.parent} and run again, which converts the model again",
            ) from error

    def convert(self) -> None:
        """Convert the network and move it to its place, whole or not at all. The caller holds the lock `converting`.

        Raises:
            ModelError: OpenVINO can't run the network.
            DiskFullError, HomeError: it can't be written.
        """
        import torch

        height, width = self.space.preprocessing.size
        shape = (1, 3, height, width)
        converted = trace(self.model.build(), torch.zeros(*shape), shape, self.space.model)
        with named_conversion_errors(self.space.model):
            converted = self._prepend_normalising(converted)
        write_converted(self.converted.parent, converted, self.space.model)

    def compile(self) -> "tuple[openvino.CompiledModel, str]":
        """Compile the converted network in the requested precision and check its vectors; return it and the precision.

        Raises:
            SettingError: bfloat16 is requested, and the CPU doesn't have it.
            ModelError: the vectors don't agree with torch's.
        """
        core = import_openvino().Core()
        requested = self.requested_precision
        has_bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if requested == "bfloat16" and not has_bfloat16:
            raise SettingError(
                "precision is bfloat16, but this CPU has no instructions for it",
                expected="precision auto or float32",
            )
        if requested == "bfloat16" or (requested == "auto" and has_bfloat16):
            try:
                return self._compile_in(core, "bfloat16"), "bfloat16"
            except ModelError:
                if requested == "bfloat16":
                    raise
        return self._compile_in(core, "float32"), "float32"

    def _compile_in(self, core: "openvino.Core", precision: str) -> "openvino.CompiledModel":
        compiled = compile_network(core, self.converted, hint="THROUGHPUT", precision=_PRECISION_HINTS[precision])
        height, width = self.space.preprocessing.size
        infer_once_alone(compiled, np.zeros((1, height, width, 3), np.uint8))

        def embed_images(images: list[Image.Image]) -> np.ndarray:
            return np.stack([compiled(self.prepare(image)[np.newaxis])[0][0].copy() for image in images])

        processor = " ".join(str(core.get_property("CPU", "FULL_DEVICE_NAME")).split())
        key = f"openvino-cpu-{precision} {openvino_version()} on {processor}"
        is_proven = model_files.has_checks(self.converted.parent)
        engine_agreement.ensure_agreement(self.model, self.space_folder, key, embed_images, anew=not is_proven)
        return compiled

    def _prepend_normalising(self, network: Any) -> Any:
        """Make the network normalise and take pixels uint8 (1, height, width, 3), a quarter of the bytes."""
        from openvino import Layout, Type
        from openvino.preprocess import PrePostProcessor

        preprocessing = self.space.preprocessing
        steps = PrePostProcessor(network)
        steps.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
        steps.input().model().set_layout(Layout("NCHW"))
        steps.input().preprocess().convert_element_type(Type.f32).mean([255 * m for m in preprocessing.mean]).scale(
            [255 * s for s in preprocessing.std]
        )
        return steps.build()
