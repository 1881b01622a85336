"""The text engine: runs the text tower of a space's model with OpenVINO on the CPU, without importing torch.

Belongs here: converting a text tower once, the vector of a text, the proof that it is right. Not here: text towers
and tokenizers (`domain.models`), the files of a converted network (`domain.inference.converted_network`), images
(`domain.inference.embedder`).
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imgret_assets.domain.inference import engine_agreement
from imgret_assets.domain.inference.converted_network import (
    NETWORK_FILE,
    compile_network,
    ensure_converted,
    import_openvino,
    infer_once_alone,
    openvino_version,
    trace,
    write_converted,
)
from imgret_assets.domain.models.resolution import Model, check_text_tower
from imgret_assets.domain.models.text_tokenizer import TextTokenizer
from imgret_assets.domain.numerics.vectors import unusable_vectors
from imgret_assets.errors import ModelError, first_line
from imgret_assets.settings import DEFAULT_LOCK_TIMEOUT_S

if TYPE_CHECKING:
    import openvino

# Texts that every text tower is compared on: cases, punctuation, digits, scripts, one token, more than all fit.
REFERENCE_TEXTS = (
    "a red car in a forest",
    "A photo of two DOGS, playing!",
    "IMG_2024 at 3:45 p.m.",
    "it's the sky's colour & more",
    "ein Haus am See, grüne Wiesen",
    "κόκκινο αυτοκίνητο",
    "森の中の赤い車",
    "سيارة حمراء 🚗",
    "x",
    " ".join(["tree house river mountain"] * 40),
)


@dataclass(frozen=True)
class TextVector:
    """The vector of a text.

    Attributes:
        vector: float32 (dim,), not normalised.
        truncated: the text is longer than the model's context: its end has no part in the vector.
    """

    vector: np.ndarray
    truncated: bool


class TextEncoder:
    """Runs a text tower in float32. It is converted once for a home, which needs torch and open_clip."""

    def __init__(self, model: Model, folder: Path, *, lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S) -> None:
        """Note what to load; nothing is loaded yet.

        Args:
            model: the model.
            folder: where the home keeps converted and compiled models.
            lock_timeout_s: how long to wait for another process that converts the same model, in seconds.

        Raises:
            QueryError: the model has no text tower.
        """
        check_text_tower(model.space)
        self.model = model
        self.space_folder = folder / model.space.id
        self._lock_timeout_s = lock_timeout_s
        self._lock = threading.Lock()
        self._loaded: tuple[openvino.CompiledModel, TextTokenizer] | None = None

    @property
    def converted(self) -> Path:
        """The file of the converted text tower; it depends on the space and on OpenVINO's version."""
        return self.space_folder / f"text-openvino-{openvino_version()}" / NETWORK_FILE

    def encode(self, text: str) -> TextVector:
        """Return the vector of a text.

        Raises:
            QueryError: the text has no words.
            ModelError: the text tower can't be converted or does not agree with the model's own library, or the vector
                is zero or not finite.
        """
        compiled, tokenizer = self.load()
        tokens = tokenizer.encode(text)
        vector = _run(compiled, tokens.ids)
        if unusable_vectors(vector[np.newaxis])[0]:
            raise ModelError(
                f"{self.model.space.model} gives this text a zero or non-finite vector", remedy="use other words"
            )
        return TextVector(vector, tokens.truncated)

    def load(self) -> "tuple[openvino.CompiledModel, TextTokenizer]":
        """Return the compiled text tower and its tokenizer; the first call converts, compiles and checks it.

        Raises:
            ModelError: as `encode`.
            LockTimeoutError: another process converts it and takes too long.
        """
        with self._lock:
            if self._loaded is None:
                ensure_converted(self.converted, self._convert, lock_timeout_s=self._lock_timeout_s, noun="text tower")
                self._loaded = self._compile()
            return self._loaded

    def _convert(self) -> None:
        import torch

        name, tower = self.model.space.model, self.model.build_text_tower()
        shape = (1, tower.tokenizer.rules.context_length)
        network = trace(tower.network, torch.zeros(*shape, dtype=torch.int64), shape, name)
        with torch.inference_mode():
            reference = tower.reference(list(REFERENCE_TEXTS)).float().numpy()

        def write_more(folder: Path) -> None:
            tower.tokenizer.write(folder)
            np.save(folder / "reference.npy", reference)

        write_converted(self.converted.parent, network, name, write_more)

    def _compile(self) -> "tuple[openvino.CompiledModel, TextTokenizer]":
        core = import_openvino().Core()
        tokenizer = TextTokenizer.read(self.converted.parent)
        try:
            compiled = compile_network(core, self.converted, hint="LATENCY", precision="f32")
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO can't load {self.converted} ({first_line(error)})",
                remedy=f"remove {self.converted.parent} and ask again, which converts the text tower again",
            ) from error
        infer_once_alone(compiled, np.zeros((1, tokenizer.rules.context_length), np.int64))
        processor = " ".join(str(core.get_property("CPU", "FULL_DEVICE_NAME")).split())
        engine_agreement.ensure_text_agreement(
            self.space_folder,
            f"openvino-cpu-float32 {openvino_version()} on {processor}",
            f"The text vectors of {self.model.space.model}",
            reference=lambda: np.load(self.converted.parent / "reference.npy", allow_pickle=False),
            embed=lambda: np.stack([_run(compiled, tokenizer.encode(text).ids) for text in REFERENCE_TEXTS]),
        )
        return compiled, tokenizer


def _run(compiled: "openvino.CompiledModel", ids: np.ndarray) -> np.ndarray:
    """Return the vector float32 (dim,) of the tokens int64 (1, context_length) of a text."""
    # A request for each call: several threads may ask at once.
    request = compiled.create_infer_request()
    request.infer({0: ids})
    return request.get_output_tensor(0).data[0].astype(np.float32)
