"""The resource that lends a model, loaded once for the process and only when a picture needs it.

Belongs here: configuration and keeping the loaded model. Not here: models (`domain.models.registry`), running them
(`domain.inference.embedder`).
"""

from typing import Literal

import dagster as dg
from pydantic import Field, PrivateAttr

from imgret_assets.defs.environment import started_environment
from imgret_assets.domain.inference.embedder import DEFAULT_BATCH_SIZE, Embedder
from imgret_assets.domain.inference.engine_selection import choose_embedder, family
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.registry import Model, chosen_space, resolve
from imgret_assets.domain.storage.home import Home
from imgret_assets.settings import Settings, load_settings


class EmbedderResource(dg.ConfigurableResource):
    """A model and where it runs; what is left empty comes from the settings."""

    model: str | None = Field(
        default=None,
        description="resnet50, efficientnet_lite0 or timm:<name>; IMGRET_MODEL or the home's record where empty.",
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

    def lend(self, home: Home) -> Embedder:
        """The embedder for this home; nothing heavy is loaded before its first batch.

        Raises:
            ModelError: the model is unknown or its weights can't be had.
        """
        settings = self._settings()
        name = settings.model or home.model
        weights = settings.weights or (home.weights if name == home.model else None)
        decoding, pooling = chosen_space(home, name)
        model = resolve(home, name, weights, decoding=decoding, pooling=pooling)
        embedder = self._embedder(home, settings, model)
        home.update(
            model=name,
            weights=str(weights) if weights else None,
            engine=family(embedder),
            decoding=decoding,
            pooling=pooling,
            centre=model.space.centre or None,
        )
        return embedder

    def lend_beside(self, home: Home) -> list[Embedder]:
        """Embedders of the other models whose tables are wanted too (IMGRET_BESIDE); the graph doesn't hold them.

        Raises:
            ModelError: one is unknown or its weights can't be had.
        """
        settings = self._settings()
        own = self.space(home)
        # A mean is of one model's vectors: the graph's.
        models = [resolve(home, name, weights, centre="") for name, weights in settings.beside]
        return [self._embedder(home, settings, model) for model in models if model.space.id != own.id]

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

    def space(self, home: Home) -> EmbeddingSpace:
        """The space of the model, without loading it."""
        return self.lend(home).space
