"""The torch engine: runs a model on one or more GPUs, on Apple's, or on a CPU as the reference for other engines.

Belongs here: devices, number formats, batches that run at the same time, running out of memory. Not here: models and
weights (`domain.models`), choosing an engine (`domain.inference.engine_selection`), the proof that vectors are right
(`domain.inference.engine_agreement`).
"""

import copy
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from imgret_assets.domain.inference import engine_agreement
from imgret_assets.domain.inference.embedder import DEFAULT_BATCH_SIZE, check_choices
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.resolution import Model
from imgret_assets.domain.runtime import gpus
from imgret_assets.errors import ModelError

if TYPE_CHECKING:
    import torch

# A GPU works on one batch while the next is copied to it and the vectors of the last one are copied back.
_BATCHES_PER_DEVICE = 3
_GPU_BATCH_SIZE = 128
_MEMORY_REMEDY = "free the device's memory, or set IMGRET_DEVICE=cpu"


class TorchEmbedder:
    """Runs a model with torch; loads it once, when the first batch comes."""

    family = "torch"

    def __init__(
        self,
        model: Model,
        folder: Path,
        *,
        device: str = "auto",
        precision: str = "float32",
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        """Note what to load; nothing is loaded yet.

        Args:
            model: the model.
            folder: where the home keeps what belongs to models. An engine that is not the reference itself proves
                there, once, that it agrees with the reference.
            device: `auto` (cuda, then mps, then cpu), `cpu`, `cuda` or `mps`.
            precision: `float32`, `bfloat16`, `float16`, or `auto`: the first of `automatic_precisions` that agrees with
                the reference.
            batch_size: images in a forward pass; the default becomes 128 on a GPU.

        Raises:
            SettingError: there is no such precision, or the batch size is below 1.
        """
        check_choices(precision, batch_size)
        self.model = model
        self.folder = folder
        self.batch_size = batch_size
        self.forward_s = 0.0
        self.requested_precision = precision
        self._requested_device = device
        self._precision: str | None = None
        self._device: str | None = None
        self._device_networks: list[_DeviceNetwork] = []
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Reach another process unloaded, with the device and precision that this one has chosen."""
        options = {
            "device": self._device or self._requested_device,
            "precision": self._precision or self.requested_precision,
            "batch_size": self.batch_size,
        }
        return partial(type(self), **options), (self.model, self.folder)

    @property
    def space(self) -> EmbeddingSpace:
        """The model's space."""
        return self.model.space

    @property
    def device(self) -> str:
        """The kind of device in use; imports torch.

        Raises:
            ModelError: the requested device is not on this machine.
        """
        if self._device is None:
            self._device = choose_device(self._requested_device)
            if self._device != "cpu" and self.batch_size == DEFAULT_BATCH_SIZE:
                self.batch_size = _GPU_BATCH_SIZE
        return self._device

    @property
    def engine(self) -> str:
        """What computes, such as `torch-cuda-bfloat16`; loads the model where the precision is still to be chosen."""
        if self.requested_precision == "auto":
            self.load()
        return f"torch-{self.device}-{self._precision or self.requested_precision}"

    @property
    def hardware(self) -> str:
        """The names of the devices in use, as their makers give them; empty until the model is in memory."""
        return ", ".join(sorted({network.hardware for network in self._device_networks}))

    @property
    def loaded(self) -> bool:
        """True once the model is in memory."""
        return bool(self._device_networks)

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return an RGB image as the engine takes it, uint8 (height, width, 3)."""
        return self.space.preprocessing.resize_and_crop(image)

    def embed(self, batch: np.ndarray) -> np.ndarray:
        """Return the vectors float32 (n, dim) of a batch uint8 (n, height, width, 3), in as many passes as needed.

        Raises:
            ModelError: the model gives vectors of another length than its space has, or one image is too much for the
                device's memory.
        """
        self.load()
        vectors = np.empty((len(batch), self.space.dim), dtype=np.float32)
        for row, vector in self.stream((str(row), image) for row, image in enumerate(batch)):
            vectors[int(row)] = vector
        return vectors

    def stream(self, images: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the vectors float32 (dim,) of images uint8 (height, width, 3), each with its key.

        Batches go to the devices in turn; a few are started on each device before the first is waited for. A batch that
        doesn't fit in memory is halved, and so is every later one.

        Raises:
            ModelError: as `embed`.
        """
        self.load()
        started: deque[_StartedBatch] = deque()
        for number, batch in enumerate(self._batches(images)):
            waiting = deque([batch])
            while waiting:
                keys, pixels = waiting.popleft()
                network = self._device_networks[number % len(self._device_networks)]
                try:
                    started.append(network.start(keys, pixels))
                except RuntimeError as error:
                    if not gpus.is_out_of_memory(error):
                        raise
                    smaller = [(keys, pixels)] if len(keys) == 1 and started else self._halve(keys, pixels, error)
                else:
                    continue
                # Only now: the error's frames held the batch. Started batches hold memory, too, and end first.
                while started:
                    yield from self._vectors(started.popleft())
                waiting.extendleft(reversed(smaller))
                network.free_memory()
            while len(started) >= _BATCHES_PER_DEVICE * len(self._device_networks):
                yield from self._vectors(started.popleft())
        while started:
            yield from self._vectors(started.popleft())

    def _batches(self, images: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[list[str], np.ndarray]]:
        keys: list[str] = []
        parts: list[np.ndarray] = []
        for key, image in images:
            keys.append(key)
            parts.append(image)
            if len(keys) >= self.batch_size:
                yield keys, np.stack(parts)
                keys, parts = [], []
        if keys:
            yield keys, np.stack(parts)

    def _halve(self, keys: list[str], pixels: np.ndarray, error: RuntimeError) -> list[tuple[list[str], np.ndarray]]:
        if len(keys) == 1:
            raise ModelError(
                f"{self.space.model} needs more memory for one image than {self.device} has free",
                remedy=_MEMORY_REMEDY,
            ) from error
        half = (len(keys) + 1) // 2
        self.batch_size = min(self.batch_size, half)
        return [(keys[:half], pixels[:half]), (keys[half:], pixels[half:])]

    def _vectors(self, batch: "_StartedBatch") -> Iterator[tuple[str, np.ndarray]]:
        vectors = batch.wait()
        self.forward_s += time.monotonic() - batch.started_at
        if vectors.shape != (len(batch.keys), self.space.dim):
            raise ModelError(
                f"{self.space.model} gave an array of shape {vectors.shape}",
                expected=f"({len(batch.keys)}, {self.space.dim})",
            )
        yield from zip(batch.keys, vectors, strict=True)

    def load(self) -> None:
        """Build the network, copy it to its devices and check it against the reference, unless that is done already.

        Raises:
            ModelError: the device is not on this machine or has too little memory, or its vectors don't agree with the
                reference.
        """
        with self._lock:
            if self._device_networks:
                return
            network = self.model.build()
            for precision in self._precisions_to_try():
                try:
                    networks = self._proven_networks(network, precision)
                except ModelError:
                    if self.requested_precision != "auto" or precision == "float32":
                        raise
                else:
                    self._device_networks, self._precision = networks, precision
                    return

    def _proven_networks(self, network: "torch.nn.Module", precision: str) -> "list[_DeviceNetwork]":
        try:
            networks = [_DeviceNetwork(self.model, network, name, precision) for name in device_names(self.device)]
            self._prove(networks, precision)
        except RuntimeError as error:
            if not gpus.is_out_of_memory(error):
                raise
            raise ModelError(
                f"{self.space.model} needs more memory than {self.device} has free", remedy=_MEMORY_REMEDY
            ) from error
        return networks

    def _precisions_to_try(self) -> list[str]:
        return automatic_precisions(self.device) if self.requested_precision == "auto" else [self.requested_precision]

    def _prove(self, networks: "list[_DeviceNetwork]", precision: str) -> None:
        import torch

        if self.device == "cpu" and precision == "float32":
            return  # This is the reference.

        for network in networks:
            key = f"torch-{self.device}-{precision} {torch.__version__} on {network.hardware}"

            def embed_images(images: list[Image.Image], network: _DeviceNetwork = network) -> np.ndarray:
                parts = [network.start([""], np.stack([self.prepare(image)])).wait() for image in images]
                return np.concatenate(parts)

            engine_agreement.ensure_agreement(self.model, self.folder / self.space.id, key, embed_images)


class _StartedBatch:
    """A batch whose forward pass has been started on a device."""

    def __init__(self, keys: list[str], vectors: "torch.Tensor", done: Any, started_at: float) -> None:
        self.keys = keys
        self.started_at = started_at
        self._vectors = vectors
        self._done = done

    def wait(self) -> np.ndarray:
        """Wait for the device and return the vectors float32 (n, dim)."""
        if self._done is not None:
            self._done.synchronize()
        return self._vectors.float().cpu().numpy()


class _DeviceNetwork:
    """One device with its copy of the network."""

    def __init__(self, model: Model, network: "torch.nn.Module", name: str, precision: str) -> None:
        import torch

        self.device = torch.device(name)
        self._on_cuda = self.device.type == "cuda"
        self._type = getattr(torch, precision)
        if self._on_cuda:
            # float32 means float32: torch would round the inputs of convolutions to ten bits (TF32), by which scores
            # change by up to 0.002. For the whole process, because threads share the setting.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        # Each device needs a copy: `to` moves a network, and would take it away from the device before.
        self._network = copy.deepcopy(network).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        mean, std = model.space.preprocessing.mean, model.space.preprocessing.std
        self._mean = torch.tensor([255 * m for m in mean], device=self.device).reshape(1, 3, 1, 1)
        self._std = torch.tensor([255 * s for s in std], device=self.device).reshape(1, 3, 1, 1)

    @property
    def hardware(self) -> str:
        """The device's name, as its maker gives it."""
        import torch

        return torch.cuda.get_device_name(self.device) if self._on_cuda else str(self.device.type)

    def start(self, keys: list[str], pixels: np.ndarray) -> _StartedBatch:
        """Start a forward pass over uint8 (n, height, width, 3); on cuda this returns before it is done."""
        import torch

        started_at = time.monotonic()
        with torch.inference_mode():
            host = torch.from_numpy(pixels)
            if self._on_cuda:
                host = host.pin_memory()
            # Channels stay last in memory, as they came: the layout in which convolutions are fastest.
            values = host.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()
            values = values.sub_(self._mean).div_(self._std)
            with torch.autocast(self.device.type, dtype=self._type, enabled=self._type is not torch.float32):
                outputs = self._network(values).float()
            if not self._on_cuda:
                return _StartedBatch(keys, outputs, None, started_at)
            vectors = torch.empty(outputs.shape, dtype=torch.float32, pin_memory=True)
            vectors.copy_(outputs, non_blocking=True)
            done = torch.cuda.Event()
            done.record(torch.cuda.current_stream(self.device))
            return _StartedBatch(keys, vectors, done, started_at)

    def free_memory(self) -> None:
        """Give back the device memory that torch keeps for later."""
        import torch

        if self._on_cuda:
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()


def choose_device(requested: str) -> str:
    """Return the kind of device to use; `auto` stands for cuda, else mps, else cpu.

    Raises:
        ModelError: the requested device is not on this machine.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if requested == "auto":
        return next(device for device, is_available in available.items() if is_available)
    if not available.get(requested, False):
        raise ModelError(
            f"The device {requested!r} is not available on this machine",
            expected="one of " + ", ".join(device for device, is_available in available.items() if is_available),
            remedy="set IMGRET_DEVICE=auto",
        )
    return requested


def device_names(device: str) -> list[str]:
    """Return torch's names of the devices of a kind among which batches are shared: every GPU for `cuda`."""
    import torch

    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] if device == "cuda" else [device]


def automatic_precisions(device: str) -> list[str]:
    """Return the precisions to try on a device, fastest first: bfloat16, else float16, on cuda; float32 everywhere."""
    import torch

    if device == "cuda":
        # An older GPU emulates bfloat16, slowly.
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return ["bfloat16" if has_bfloat16 else "float16", "float32"]
    return ["float32"]
