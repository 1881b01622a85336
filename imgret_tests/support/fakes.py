"""Small stand-ins that answer and record, for things the project owns.

Belongs here: a resource that provides a model without weights; the model itself and pictures come from modules that
need no Dagster (`fake_model.py`, `pictures.py`). Not here: a fake Neo4j: the server tests use a real one.
"""

from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.domain.inference.embedder import Embedder
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_model import ConvertedEmbedder, FakeEmbedder, fake_embedder
from imgret_tests.support.pictures import picture, picture_bytes, write_pictures

__all__ = ["FakeEmbedder", "FakeEmbedderResource", "fake_embedder", "picture", "picture_bytes", "write_pictures"]


class FakeEmbedderResource(EmbedderResource):
    """Provides one FakeEmbedder, shared through the class so that a test can count over runs."""

    name: str = "fake"

    def space(self, home: Home) -> EmbeddingSpace:
        return self.provide(home).space

    def recorded_space(self, home: Home) -> EmbeddingSpace | None:
        return self.space(home)

    def provide(self, home: Home) -> Embedder:
        return ConvertedEmbedder(home.path / "models") if self.name == "converted" else fake_embedder(self.name)

    def provide_additional(self, home: Home) -> list[Embedder]:
        return [fake_embedder(name) for name in (self.beside or "").split(",") if name]

    def record_models(self, home: Home) -> Home:
        """Record nothing: no later run could go on with a model of this name."""
        return home
