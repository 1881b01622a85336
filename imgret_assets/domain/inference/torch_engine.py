"""Running a model with torch: on one or more GPUs, on Apple's, or on a CPU as the reference for the others.

Belongs here: devices, number formats, batches under way, running out of memory. Not here: models and weights
(`domain.models.registry`), choosing an engine (`domain.inference.engine_selection`), the proof that vectors are right
(`domain.inference.engine_agreement`).
"""

import copy
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from imgret_assets.domain.inference import engine_agreement
from imgret_assets.domain.inference.embedder import DEFAULT_BATCH_SIZE, check_choices
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.resolution import Model
from imgret_assets.errors import ModelError

if TYPE_CHECKING:
    import torch

# A GPU works on one batch while the next is copied to it and the last one's vectors are copied back.
_UNDER_WAY = 3
_GPU_BATCH_SIZE = 128


class TorchEmbedder:
    """Runs a model with torch; loads it once, when the first batch comes."""

    family = "torch"

    def __init__(
        self,
        model: Model,
        *,
        folder: Path | None = None,
        device: str = "auto",
        precision: str = "float32",
        batch_size: int = DEFAULT_BATCH_SIZE,
        devices: Sequence[str] | None = None,
    ) -> None:
        """Remember what to load.

        Args:
            model: the model.
            folder: where the home keeps what belongs to models: an engine that is not the reference itself proves
                there, once, that it agrees with it. None skips the proof.
            device: `auto` (cuda, then mps, then cpu), `cpu`, `cuda` or `mps`.
            precision: `float32`, `bfloat16`, `float16`, or `auto`: bfloat16 (else float16) on cuda if it agrees
                with the reference, float32 everywhere else.
            batch_size: pictures in a forward pass; the default becomes 128 on a GPU.
            devices: the very devices to share batches out to, such as `cuda:0` and `cuda:1`; all GPUs where None.

        Raises:
            SettingError: there is no such precision, or a batch size below 1.
        """
        check_choices(precision, batch_size)
        self.model = model
        self.folder = folder
        self.batch_size = batch_size
        self.forward_s = 0.0
        self._asked_device = device
        self._asked_devices = devices
        self._asked_precision = precision
        self._precision: str | None = None
        self._device: str | None = None
        self._lanes: list[_Lane] = []
        self._lock = threading.RLock()

    @property
    def space(self) -> EmbeddingSpace:
        """The model's space."""
        return self.model.space

    @property
    def device(self) -> str:
        """The kind of device in use; asks torch.

        Raises:
            ModelError: the device asked for is not on this machine.
        """
        if self._device is None:
            self._device = choose_device(self._asked_device)
            if self._device != "cpu" and self.batch_size == DEFAULT_BATCH_SIZE:
                self.batch_size = _GPU_BATCH_SIZE
        return self._device

    @property
    def engine(self) -> str:
        """What computes, such as `torch-cuda-bfloat16`; loads the model where the precision is still to be chosen."""
        if self._asked_precision == "auto":
            self.load()
        return f"torch-{self.device}-{self._precision or self._asked_precision}"

    @property
    def loaded(self) -> bool:
        """True once the model is in memory."""
        return bool(self._lanes)

    def prepare(self, image: Image.Image) -> np.ndarray:
        """An RGB picture as the engine takes it, uint8 (height, width, 3)."""
        return self.space.preprocessing.resize_and_crop(image)

    def embed(self, batch: np.ndarray) -> np.ndarray:
        """Vectors float32 (n, dim) of a batch uint8 (n, height, width, 3), in as many passes as memory asks for.

        Raises:
            ModelError: the model gives vectors of another length than its space says, or one picture is too much
                for the device's memory.
        """
        self.load()
        vectors = np.empty((len(batch), self.space.dim), dtype=np.float32)
        for row, vector in self.stream((str(row), picture) for row, picture in enumerate(batch)):
            vectors[int(row)] = vector
        return vectors

    def stream(self, pictures: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        """Vectors float32 (dim,) of pictures uint8 (height, width, 3), each with its key.

        Batches go to the devices in turn, a few under way on each. A batch that doesn't fit in memory is halved,
        and so is every later one.

        Raises:
            ModelError: as `embed`.
        """
        self.load()
        under_way: deque[_Batch] = deque()
        for number, batch in enumerate(self._batches(pictures)):
            waiting = deque([batch])
            while waiting:
                keys, pixels = waiting.popleft()
                lane = self._lanes[number % len(self._lanes)]
                try:
                    under_way.append(lane.start(keys, pixels))
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    # What is under way holds memory, too: let it end before the smaller batch is tried.
                    while under_way:
                        yield from self._vectors(under_way.popleft())
                    waiting.extendleft(reversed(self._halved(keys, pixels, error)))
                    lane.free_memory()
            while len(under_way) >= _UNDER_WAY * len(self._lanes):
                yield from self._vectors(under_way.popleft())
        while under_way:
            yield from self._vectors(under_way.popleft())

    def _batches(self, pictures: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[list[str], np.ndarray]]:
        keys: list[str] = []
        parts: list[np.ndarray] = []
        for key, picture in pictures:
            keys.append(key)
            parts.append(picture)
            if len(keys) >= self.batch_size:
                yield keys, np.stack(parts)
                keys, parts = [], []
        if keys:
            yield keys, np.stack(parts)

    def _halved(self, keys: list[str], pixels: np.ndarray, error: RuntimeError) -> list[tuple[list[str], np.ndarray]]:
        if len(keys) == 1:
            raise ModelError(
                f"{self.space.model} needs more memory for one picture than {self.device} has free",
                remedy="free the device's memory, or set IMGRET_DEVICE=cpu",
            ) from error
        half = (len(keys) + 1) // 2
        self.batch_size = min(self.batch_size, half)
        return [(keys[:half], pixels[:half]), (keys[half:], pixels[half:])]

    def _vectors(self, batch: "_Batch") -> Iterator[tuple[str, np.ndarray]]:
        vectors = batch.vectors()
        self.forward_s += time.monotonic() - batch.started
        if vectors.shape != (len(batch.keys), self.space.dim):
            raise ModelError(
                f"{self.space.model} gave an array of shape {vectors.shape}",
                expected=f"({len(batch.keys)}, {self.space.dim})",
            )
        yield from zip(batch.keys, vectors, strict=True)

    def load(self) -> None:
        """Build the network and put it on its devices, checked against the reference; done at the first batch.

        Raises:
            ModelError: the device is not there, or its vectors don't agree with the reference.
        """
        with self._lock:
            if self._lanes:
                return
            network = self.model.build()
            for precision in self._precisions():
                try:
                    lanes = [_Lane(self.model, network, name, precision) for name in self._device_names()]
                    self._prove(lanes, precision)
                except ModelError:
                    if self._asked_precision != "auto" or precision == "float32":
                        raise
                else:
                    self._lanes, self._precision = lanes, precision
                    return

    def _device_names(self) -> list[str]:
        import torch

        if self._asked_devices is not None:
            return list(self._asked_devices)
        if self.device == "cuda":
            return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        return [self.device]

    def _precisions(self) -> list[str]:
        import torch

        if self._asked_precision != "auto":
            return [self._asked_precision]
        if self.device == "cuda":
            return ["bfloat16" if torch.cuda.is_bf16_supported() else "float16", "float32"]
        return ["float32"]

    def _prove(self, lanes: "list[_Lane]", precision: str) -> None:
        import torch

        if self.folder is None or (self.device == "cpu" and precision == "float32"):
            return

        for lane in dict.fromkeys(lanes):
            key = f"torch-{self.device}-{precision} {torch.__version__} on {lane.hardware}"

            def vectors_of(pictures: list[Image.Image], lane: _Lane = lane) -> np.ndarray:
                parts = [lane.start([""], np.stack([self.prepare(picture)])).vectors() for picture in pictures]
                return np.concatenate(parts)

            engine_agreement.ensure_agreement(self.model, self.folder / self.space.id, key, vectors_of)


class _Batch:
    """A batch under way on a device."""

    def __init__(self, keys: list[str], vectors: "torch.Tensor", done: Any, started: float) -> None:
        self.keys = keys
        self.started = started
        self._vectors = vectors
        self._done = done

    def vectors(self) -> np.ndarray:
        """Vectors float32 (n, dim); waits for the device."""
        if self._done is not None:
            self._done.synchronize()
        return self._vectors.float().cpu().numpy()


class _Lane:
    """One device with its copy of the network."""

    def __init__(self, model: Model, network: "torch.nn.Module", name: str, precision: str) -> None:
        import torch

        self.device = torch.device(name)
        self._on_cuda = self.device.type == "cuda"
        self._type = getattr(torch, precision)
        # Several devices each need a network of their own; the last one may not take the others' along.
        self._network = copy.deepcopy(network).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        mean, std = model.space.preprocessing.mean, model.space.preprocessing.std
        self._mean = torch.tensor([255 * m for m in mean], device=self.device).reshape(1, 3, 1, 1)
        self._std = torch.tensor([255 * s for s in std], device=self.device).reshape(1, 3, 1, 1)

    @property
    def hardware(self) -> str:
        """The device's name, as its maker gives it."""
        import torch

        return torch.cuda.get_device_name(self.device) if self._on_cuda else str(self.device.type)

    def start(self, keys: list[str], pixels: np.ndarray) -> _Batch:
        """Begin a forward pass over uint8 (n, height, width, 3); on cuda this returns before it is done."""
        import torch

        started = time.monotonic()
        with torch.inference_mode():
            host = torch.from_numpy(pixels)
            if self._on_cuda:
                host = host.pin_memory()
            # Channels stay last in memory, as they came: the layout that convolutions are quickest with.
            values = host.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()
            values = values.sub_(self._mean).div_(self._std)
            with torch.autocast(self.device.type, dtype=self._type, enabled=self._type is not torch.float32):
                outputs = self._network(values).float()
            if not self._on_cuda:
                return _Batch(keys, outputs, None, started)
            vectors = torch.empty(outputs.shape, dtype=torch.float32, pin_memory=True)
            vectors.copy_(outputs, non_blocking=True)
            done = torch.cuda.Event()
            done.record(torch.cuda.current_stream(self.device))
            return _Batch(keys, vectors, done, started)

    def free_memory(self) -> None:
        """Give back what torch keeps of the device's memory for later."""
        import torch

        if self._on_cuda:
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """True for what torch raises when a device's memory is used up: one class on cuda, words elsewhere."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("out of memory", "can't allocate memory")
    )


def choose_device(asked: str) -> str:
    """The device to use: `auto` takes cuda, then mps, then cpu.

    Raises:
        ModelError: the device asked for is not on this machine.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return next(device for device, available in there.items() if available)
    if not there.get(asked, False):
        raise ModelError(
            f"The device {asked!r} is not available on this machine",
            expected="one of " + ", ".join(device for device, available in there.items() if available),
            remedy="set IMGRET_DEVICE=auto",
        )
    return asked
