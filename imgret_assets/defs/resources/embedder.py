"""The resource that provides a model, loaded once for the process and only when a picture needs it.

Belongs here: configuration and keeping the loaded model. Not here: models (`domain.models.registry`), running them
(`domain.inference.embedder`).
"""

from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field, PrivateAttr

from imgret_assets.defs.environment import started_environment
from imgret_assets.domain.inference.embedder import DEFAULT_BATCH_SIZE, Embedder
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.registry import family_of
from imgret_assets.domain.models.resolution import (
    Model,
    chosen_decoding_and_pooling,
    record_space,
    recorded_space,
    resolve,
)
from imgret_assets.domain.storage.home import Home
from imgret_assets.settings import Settings, load_settings


class EmbedderResource(dg.ConfigurableResource):
    """A model and where it runs; what is left empty comes from the settings."""

    model: str | None = Field(
        default=None,
        description="resnet50, efficientnet_lite0, efficientnet_lite2, timm:<name> or openclip:<name>; "
        "IMGRET_MODEL or the home's record where empty.",
    )
    weights: str | None = Field(default=None, description="File with the model's weights; IMGRET_WEIGHTS where empty.")
    # Not a Literal: Dagster has no config type for an optional one. The settings check it.
    device: str | None = Field(
        default=None,
        description="Where the model runs; auto takes cuda, then mps, then cpu. IMGRET_DEVICE where empty.",
    )
    engine: str | None = Field(
        default=None,
        description="openvino, torch, or auto: what made the home's vectors, else OpenVINO on a CPU. "
        "IMGRET_ENGINE where empty.",
    )
    beside: str | None = Field(
        default=None,
        description="Models whose tables are kept beside the graph's, comma separated, each a name or name=weights "
        "file; IMGRET_BESIDE where empty.",
    )
    batch_size: int = Field(default=DEFAULT_BATCH_SIZE, description="Pictures given to the model at once.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Number format of the forward pass; auto: what made the home's vectors, else bfloat16 where the "
        "processor has it and the vectors agree with the reference, else float32.",
    )
    _embedders: dict[str, Embedder] = PrivateAttr(default_factory=dict)

    def space(self, home: Home) -> EmbeddingSpace:
        """Return the space of the model without loading it. Nothing is written."""
        return self._model(home, self._settings()).space

    def recorded_space(self, home: Home) -> EmbeddingSpace | None:
        """Return the space of the model if a run has recorded it; a sensor asks this often, so no weights are read.

        Raises:
            ModelError: the model is unknown.
        """
        return recorded_space(home, *self._choice(home, self._settings()))

    def provide(self, home: Home) -> Embedder:
        """Return the embedder for this home. Nothing is written, and nothing heavy is loaded before its first batch.

        Raises:
            ModelError: the model is unknown or its weights can't be found.
        """
        settings = self._settings()
        return self._embedder(home, settings, self._model(home, settings))

    def provide_additional(self, home: Home) -> list[Embedder]:
        """Return embedders of the additional models (IMGRET_BESIDE): they get tables, and the graph doesn't hold them.

        Raises:
            ModelError: one is unknown or its weights can't be found.
        """
        settings = self._settings()
        main = self._model(home, settings).space
        # A mean belongs to the vectors of one model: the graph's.
        models = [resolve(home, name, weights, centre="") for name, weights in _additional(settings)]
        return [self._embedder(home, settings, model) for model in models if model.space.id != main.id]

    def record_models(self, home: Home) -> Home:
        """Record the models in the home, so that a later run without flags goes on with them.

        Only what writes embeddings calls this: the record names the model of the last run.

        Raises:
            ModelError: a model is unknown, its weights can't be found, or the device is not on this machine.
            SettingError: engine, device and precision don't go together.
        """
        settings = self._settings()
        name, weights = self._choice(home, settings)
        decoding, pooling = chosen_decoding_and_pooling(home, name)
        self._embedder(home, settings, self._model(home, settings))
        model = record_space(home, name, weights, decoding=decoding, pooling=pooling)
        for additional_name, additional_weights in _additional(settings):
            record_space(home, additional_name, additional_weights, centre="")
        return home.update(
            model=name,
            weights=str(weights) if weights else None,
            decoding=decoding,
            pooling=pooling,
            centre=model.space.centre or None,
        )

    def _choice(self, home: Home, settings: Settings) -> tuple[str, Path | None]:
        """Name and weights file: of this resource and the environment, else as the home has recorded them."""
        name = settings.model or home.model
        return name, settings.weights or (home.weights if name == home.model else None)

    def _model(self, home: Home, settings: Settings) -> Model:
        name, weights = self._choice(home, settings)
        decoding, pooling = chosen_decoding_and_pooling(home, name)
        return resolve(home, name, weights, decoding=decoding, pooling=pooling)

    def _settings(self) -> Settings:
        given = {"model": self.model, "weights": self.weights, "device": self.device, "engine": self.engine}
        return load_settings({**given, "beside": self.beside}, env=started_environment())

    def _embedder(self, home: Home, settings: Settings, model: Model) -> Embedder:
        if model.space.id not in self._embedders:
            self._embedders[model.space.id] = choose_embedder(
                home,
                model,
                device=settings.device,
                engine=settings.engine,
                precision=self.precision,
                batch_size=self.batch_size,
            )
        return self._embedders[model.space.id]


def _additional(settings: Settings) -> tuple[tuple[str, Path | None], ...]:
    """Return the additional models, each with its weights file or None.

    Raises:
        ModelError: one is unknown; the message names the setting.
    """
    for name, _ in settings.beside:
        family_of(name, "IMGRET_BESIDE or --beside")
    return settings.beside
