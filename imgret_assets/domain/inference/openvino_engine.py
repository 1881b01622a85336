"""Running a model with OpenVINO on the CPU: several times torch's rate there, and without importing torch.

Belongs here: converting a network once, compiling it, asynchronous inference. Not here: models and weights
(`domain.models.registry`), choosing an engine (`domain.inference.engine_selection`), the proof that its vectors are
right (`domain.inference.engine_agreement`).
"""

import shutil
import sys
import tempfile
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from imgret_assets.domain.inference import engine_agreement
from imgret_assets.domain.inference.embedder import DEFAULT_BATCH_SIZE, check_choices
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.resolution import Model
from imgret_assets.domain.storage import locks
from imgret_assets.errors import ModelError, SettingError
from imgret_assets.settings import DEFAULT_LOCK_TIMEOUT_S

if TYPE_CHECKING:
    import openvino

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEmbedder:
    """Runs a model with OpenVINO; converts it once for a home, which needs torch, and never again."""

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
        """Remember what to load.

        Args:
            model: the model.
            folder: where converted and compiled models are kept.
            precision: `float32`, `bfloat16` on a CPU that has it, or `auto`: the latter if it can be had and
                agrees with the reference, else the former.
            batch_size: pictures after which a caller may expect vectors.
            lock_timeout_s: how long to wait for another process that converts the same model, in seconds.

        Raises:
            SettingError: there is no such precision, or a batch size below 1.
        """
        check_choices(precision, batch_size)
        if precision not in ("auto", *_HINTS):
            raise SettingError(f"precision is {precision!r} with OpenVINO", expected="auto, float32 or bfloat16")
        self.model = model
        self.folder = folder
        self.batch_size = batch_size
        self.forward_s = 0.0
        self._lock_timeout_s = lock_timeout_s
        self._asked_precision = precision
        self._precision: str | None = None
        self._compiled: openvino.CompiledModel | None = None
        self._lock = threading.Lock()

    @property
    def space(self) -> EmbeddingSpace:
        """The model's space."""
        return self.model.space

    @property
    def engine(self) -> str:
        """What computes, such as `openvino-cpu-float32`; loads the model where the precision is still to be chosen."""
        if self._asked_precision == "auto":
            self.load()
        return f"openvino-cpu-{self._precision or self._asked_precision}"

    @property
    def loaded(self) -> bool:
        """True once the model is in memory."""
        return self._compiled is not None

    @property
    def own_folder(self) -> Path:
        """Where this home keeps what belongs to the model's space."""
        return self.folder / self.space.id

    @property
    def converted(self) -> Path:
        """The converted network's file; it depends on the space and on OpenVINO's version."""
        return self.own_folder / f"openvino-{_version()}" / "model.xml"

    def prepare(self, image: Image.Image) -> np.ndarray:
        """An RGB picture as the engine takes it, uint8 (height, width, 3)."""
        return self.space.preprocessing.resize_and_crop(image)

    def embed(self, batch: np.ndarray) -> np.ndarray:
        """Vectors float32 (n, dim) of a batch uint8 (n, height, width, 3).

        Raises:
            ModelError: the network can't be converted, or its vectors don't agree with torch's.
        """
        vectors = np.empty((len(batch), self.space.dim), dtype=np.float32)
        for row, vector in self.stream((str(row), picture) for row, picture in enumerate(batch)):
            vectors[int(row)] = vector
        return vectors

    def stream(self, pictures: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        """Vectors float32 (dim,) of pictures uint8 (height, width, 3), each with its key, in their order.

        Each picture is a request of its own: its activations stay in a core's cache, and a vector does not depend
        on its neighbours in a batch. Twice as many requests as run at once are under way, so that cores don't idle
        while the caller fetches the next picture. They are made as they are needed: a query needs one.

        Requests are waited for, not called back from: OpenVINO's threads would need the interpreter's lock for that,
        and those that ask for it while the interpreter ends were seen to abort the process or to hang it.
        """
        compiled = self.load()
        at_once = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        most = at_once + min(at_once, 16)
        idle: list[openvino.InferRequest] = []
        under_way: deque[tuple[str, openvino.InferRequest]] = deque()
        try:
            for key, picture in pictures:
                if len(under_way) == most:
                    yield self._finished(under_way, idle)
                if not idle:
                    idle.append(compiled.create_infer_request())
                request = idle.pop()
                request.start_async({0: picture[np.newaxis]})
                under_way.append((key, request))
            while under_way:
                yield self._finished(under_way, idle)
        finally:
            for _, request in under_way:
                request.wait()

    def _finished(
        self, under_way: "deque[tuple[str, openvino.InferRequest]]", idle: "list[openvino.InferRequest]"
    ) -> tuple[str, np.ndarray]:
        """Wait for the oldest request; all take the same time, so none of the younger ones waits long for it."""
        key, request = under_way.popleft()
        request.wait()
        self.forward_s += request.latency / 1000
        vector = request.get_output_tensor(0).data[0].copy()
        idle.append(request)
        return key, vector

    def load(self) -> "openvino.CompiledModel":
        """The compiled network, made and checked at the first call.

        Raises:
            ModelError: OpenVINO can't run it, or its vectors don't agree with torch's.
            LockTimeoutError: another process converts it and takes too long.
        """
        with self._lock:
            if self._compiled is None:
                if not self.converted.is_file():
                    with locks.hold(
                        self.own_folder, ["converting"], timeout_s=self._lock_timeout_s, purpose="converting a model"
                    ):
                        if not self.converted.is_file():
                            self._convert()
                self._compiled, self._precision = self._choose_precision()
            return self._compiled

    def _choose_precision(self) -> "tuple[openvino.CompiledModel, str]":
        core = import_openvino().Core()
        asked = self._asked_precision
        has_bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if asked == "bfloat16" and not has_bfloat16:
            raise SettingError(
                "precision bfloat16 was asked for, but this CPU has no instructions for it",
                expected="precision auto or float32",
            )
        if asked == "bfloat16" or (asked == "auto" and has_bfloat16):
            try:
                return self._compile(core, "bfloat16"), "bfloat16"
            except ModelError:
                if asked == "bfloat16":
                    raise
        return self._compile(core, "float32"), "float32"

    def _compile(self, core: "openvino.Core", precision: str) -> "openvino.CompiledModel":
        compiled = core.compile_model(
            self.converted,
            "CPU",
            {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                "CACHE_DIR": str(self.folder / "compiled"),
            },
        )

        def vectors_of(pictures: list[Image.Image]) -> np.ndarray:
            return np.stack([compiled(self.prepare(picture)[np.newaxis])[0][0].copy() for picture in pictures])

        processor = " ".join(str(core.get_property("CPU", "FULL_DEVICE_NAME")).split())
        key = f"openvino-cpu-{precision} {_version()} on {processor}"
        engine_agreement.ensure_agreement(self.model, self.own_folder, key, vectors_of)
        return compiled

    def _convert(self) -> None:
        """Convert the network and put it in its place, whole or not at all."""
        import torch

        runtime = import_openvino()
        network = self.model.build()
        height, width = self.space.preprocessing.size
        example = torch.zeros(1, 3, height, width)
        try:
            with torch.inference_mode(), warnings.catch_warnings():
                # OpenVINO traces by a means that torch would like to see replaced: nothing a user can change.
                warnings.simplefilter("ignore", FutureWarning)
                converted = runtime.convert_model(network, example_input=example, input=[1, 3, height, width])
            converted = self._with_normalising(converted)
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO can't run {self.space.model} ({str(error).splitlines()[0]})",
                remedy="set IMGRET_ENGINE=torch",
            ) from error
        aside = Path(tempfile.mkdtemp(prefix=".converting-", dir=self.own_folder))
        try:
            runtime.save_model(converted, aside / "model.xml", compress_to_fp16=False)
            aside.replace(self.converted.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _with_normalising(self, network: Any) -> Any:
        """The network taking pixels uint8 (1, height, width, 3): a quarter of the bytes, and no Python for them."""
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


def import_openvino() -> Any:
    """Import OpenVINO without the package through which it reports its use to its makers at every import."""
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


def _version() -> str:
    return import_openvino().get_version().split("-")[0]
