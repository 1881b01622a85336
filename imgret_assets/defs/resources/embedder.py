"""The resource that lends a model, loaded once for the process and only when a picture needs it.

Belongs here: configuration and keeping the loaded model. Not here: models (`domain.models`), running them
(`domain.embedder`).
"""

from typing import Literal

import dagster as dg
from pydantic import Field, PrivateAttr

from imgret_assets.domain.embedder import DEFAULT_BATCH_SIZE, Embedder
from imgret_assets.domain.engines import choose_embedder, family
from imgret_assets.domain.home import Home
from imgret_assets.domain.models import EmbeddingSpace, resolve
from imgret_assets.settings import load_settings


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
    batch_size: int = Field(default=DEFAULT_BATCH_SIZE, description="Pictures given to the model at once.")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Number format of the forward pass."
    )
    _embedders: dict[str, Embedder] = PrivateAttr(default_factory=dict)

    def lend(self, home: Home) -> Embedder:
        """The embedder for this home; nothing heavy is loaded before its first batch.

        Raises:
            ModelError: the model is unknown or its weights can't be had.
        """
        flags = {"model": self.model, "weights": self.weights, "device": self.device, "engine": self.engine}
        settings = load_settings(flags)
        name = settings.model or home.model
        weights = settings.weights or (home.weights if name == home.model else None)
        model = resolve(home, name, weights)
        if model.space.id not in self._embedders:
            self._embedders[model.space.id] = choose_embedder(
                home,
                model,
                device=settings.device,
                engine=settings.engine,
                precision=self.precision,
                batch_size=self.batch_size,
            )
        embedder = self._embedders[model.space.id]
        home.update(model=name, weights=str(weights) if weights else None, engine=family(embedder))
        return embedder

    def space(self, home: Home) -> EmbeddingSpace:
        """The space of the model, without loading it."""
        return self.lend(home).space
