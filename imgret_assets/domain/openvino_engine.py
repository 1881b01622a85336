"""Running a model with OpenVINO on the CPU: three to ten times torch's rate there, and without importing torch.

Belongs here: converting a network once, compiling it, asynchronous inference. Not here: models and weights
(`domain.models`), choosing an engine (`domain.engines`).
"""

import shutil
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from imgret_assets.domain.embedder import DEFAULT_BATCH_SIZE
from imgret_assets.domain.models import EmbeddingSpace, Model
from imgret_assets.errors import ModelError, SettingError

if TYPE_CHECKING:
    import openvino

# The least cosine between an engine's vector and torch's float32 vector, for every picture of the fixed set.
MIN_AGREEMENT = 0.9999
_FIXED_PICTURES = 6


class OpenVinoEmbedder:
    """Runs a model with OpenVINO; converts it once for a home, which needs torch, and never again."""

    def __init__(self, model: Model, folder: Path, *, batch_size: int = DEFAULT_BATCH_SIZE) -> None:
        """Remember what to load.

        Args:
            model: the model.
            folder: where converted and compiled models are kept.
            batch_size: pictures given to `embed` at once; each is a request of its own, several under way.
        """
        if batch_size < 1:
            raise SettingError(f"batch_size is {batch_size}", expected="at least 1")
        self.model = model
        self.folder = folder
        self.batch_size = batch_size
        self._queue: openvino.AsyncInferQueue | None = None
        self._lock = threading.Lock()

    @property
    def space(self) -> EmbeddingSpace:
        """The model's space."""
        return self.model.space

    @property
    def engine(self) -> str:
        """What computes."""
        return "openvino-cpu-float32"

    @property
    def loaded(self) -> bool:
        """True once the model is in memory."""
        return self._queue is not None

    @property
    def converted(self) -> Path:
        """The converted network's file; it depends on the space and on OpenVINO's version."""
        version = import_openvino().get_version().split("-")[0]
        return self.folder / f"{self.space.id}-openvino-{version}" / "model.xml"

    def prepare(self, image: Image.Image) -> np.ndarray:
        """An RGB picture as the model's input, float32 (3, height, width)."""
        return self.space.preprocessing.apply(image)

    def embed(self, batch: np.ndarray) -> np.ndarray:
        """Vectors float32 (n, dim) of a batch float32 (n, 3, height, width).

        Each picture is a request of its own: its activations stay in a core's cache, and a vector does not depend
        on what else is in the batch.

        Raises:
            ModelError: the network can't be converted, or its vectors don't agree with torch's.
        """
        queue = self.load()
        vectors = np.empty((len(batch), self.space.dim), dtype=np.float32)

        def keep(request: Any, row: int) -> None:
            vectors[row] = request.get_output_tensor(0).data[0]

        with self._lock:
            queue.set_callback(keep)
            for row in range(len(batch)):
                queue.start_async({0: batch[row : row + 1]}, row)
            queue.wait_all()
        return vectors

    def load(self) -> "openvino.AsyncInferQueue":
        """The compiled network's request queue, made at the first call."""
        with self._lock:
            if self._queue is None:
                self._queue = self._compile()
            return self._queue

    def _compile(self) -> "openvino.AsyncInferQueue":
        runtime = import_openvino()
        if not self.converted.is_file():
            self._convert()
        core = runtime.Core()
        core.set_property({"CACHE_DIR": str(self.folder / "compiled")})
        return runtime.AsyncInferQueue(core.compile_model(self.converted, "CPU", _options()))

    def _convert(self) -> None:
        """Convert the network, check it against torch, and put it in its place, whole or not at all."""
        import torch

        runtime = import_openvino()
        network = self.model.build()
        height, width = self.space.preprocessing.size
        pictures = fixed_pictures(height, width)
        try:
            with torch.inference_mode(), warnings.catch_warnings():
                # OpenVINO traces by a means that torch would like to see replaced: nothing a user can change.
                warnings.simplefilter("ignore", FutureWarning)
                reference = network(torch.from_numpy(pictures)).numpy()
                example = torch.from_numpy(pictures[:1])
                converted = runtime.convert_model(network, example_input=example, input=[1, 3, height, width])
            compiled = runtime.Core().compile_model(converted, "CPU", _options())
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO can't run {self.space.model} ({str(error).splitlines()[0]})",
                remedy="set IMGRET_ENGINE=torch",
            ) from error
        vectors = np.stack([compiled(picture[np.newaxis])[0][0] for picture in pictures])
        check_agreement(reference, vectors, f"OpenVINO's vectors of {self.space.model}")
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".converting-", dir=self.folder))
        try:
            runtime.save_model(converted, aside / "model.xml", compress_to_fp16=False)
            if not self.converted.is_file():
                aside.replace(self.converted.parent)
        except OSError:
            # Another process was quicker; its network is the same.
            if not self.converted.is_file():
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def import_openvino() -> Any:
    """Import OpenVINO without the package through which it reports its use to its makers at every import."""
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


def _options() -> dict[str, str]:
    return {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}


def fixed_pictures(height: int, width: int) -> np.ndarray:
    """Prepared pictures float32 (6, 3, height, width) that every engine is tried with: flat, ramps, blocks, noise."""
    rng = np.random.default_rng(224)
    down, across = np.mgrid[-2.0 : 2.0 : height * 1j, -2.0 : 2.0 : width * 1j]
    blocks = np.kron(rng.normal(size=(3, 8, 8)), np.ones((-(-height // 8), -(-width // 8))))[:, :height, :width]
    pictures = [
        np.full((3, height, width), 0.5),
        np.stack([down, across, down * across]),
        np.stack([np.sin(8 * down), np.cos(5 * across), np.sin(3 * (down + across))]),
        blocks,
        rng.normal(size=(3, height, width)),
        blocks + 0.3 * rng.normal(size=(3, height, width)),
    ]
    return np.stack(pictures[:_FIXED_PICTURES]).astype(np.float32)


def check_agreement(reference: np.ndarray, vectors: np.ndarray, what: str) -> float:
    """The least cosine of corresponding rows of two float32 (n, dim) arrays, if it is high enough.

    Raises:
        ModelError: it is below 0.9999, or the shapes differ.
    """
    if reference.shape != vectors.shape:
        raise ModelError(f"{what} have shape {vectors.shape}", expected=f"{reference.shape}, as torch gives")
    a, b = reference.astype(np.float64), vectors.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    least = float(np.min(np.einsum("ij,ij->i", a, b) / norms))
    if not least >= MIN_AGREEMENT:
        raise ModelError(
            f"{what} have a cosine of {least:.6f} to torch's",
            expected=f"at least {MIN_AGREEMENT}",
            remedy="set IMGRET_ENGINE=torch",
        )
    return least
