"""Resolution: from the settings and a home's record to a model, its weights file, its mean and its embedding space.

Belongs here: which model, decoding, pooling and mean are in force, and the space they define. Not here: the list of
models (`domain.models.registry`), the files of a home's space records (`domain.models.space_records`), running a model
(`domain.inference`). Nothing here imports torch.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imgret_assets.domain.models import registry
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.means import check_source, find_mean, keep_mean, mean_digest, read_mean
from imgret_assets.domain.models.networks import BuiltTextTower
from imgret_assets.domain.models.space_records import (
    ModelChoice,
    read_current_space,
    read_space,
    recorded_spaces,
    write_space,
)
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ModelError, QueryError, TableError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Model:
    """A model that is ready to be loaded.

    Attributes:
        space: the space of its vectors.
        weights: its weights file; None where a library fetches the weights.
        mean: the file with the mean that is subtracted from its vectors; None for none.
    """

    space: EmbeddingSpace
    weights: Path | None
    mean: Path | None = None

    def build(self) -> "torch.nn.Module":
        """Build the network and load its weights; it maps float32 (n, 3, height, width) to (n, dim)."""
        return registry.build_network(self.space.model, self.weights, self.space.pooling, self.mean)

    def build_text_tower(self) -> BuiltTextTower:
        """Build the text tower and load its weights.

        Raises:
            ModelError: the space has no text tower.
        """
        check_text_tower(self.space)
        return registry.family_of(self.space.model).build_text_tower(self.space.model, self.weights)


def has_text_tower(space: EmbeddingSpace) -> bool:
    """Return whether the images of a space can be asked by text."""
    return registry.has_text_tower(space.model) and not space.centre


def check_text_tower(space: EmbeddingSpace) -> None:
    """Raise an error if the images of a space can't be asked by text.

    Raises:
        QueryError: the model has no text tower, or a mean is subtracted from its vectors.
    """
    if not registry.has_text_tower(space.model):
        raise QueryError(
            f"The images of this home can't be asked by text: {space.model} has no text tower",
            expected=f"a model with one: {registry.text_tower_patterns()}",
            remedy="`imgret run --model NAME` builds the graph with it (docs/guide/words.md)",
        )
    if space.centre:
        raise QueryError(
            f"The images of {space.id} can't be asked by text: the mean of images is subtracted from their vectors",
            remedy="`IMGRET_CENTRE=none imgret run` returns to the plain space",
        )


def resolve(
    home: Home,
    name: str | None = None,
    weights: Path | None = None,
    *,
    decoding: str | None = None,
    pooling: str | None = None,
    centre: str | None = None,
) -> Model:
    """Find a model's weights, mean and embedding space. Nothing is written.

    The space comes from the home's record of it if `record_space` has made one of the same weights file. Else it is
    computed, which hashes the weights and, for a timm model, builds the network.

    Args:
        home: the home; its model and weights are taken where `name` is None.
        name: a model's name, as `domain.models.registry` knows it.
        weights: a weights file instead of the model's usual one.
        decoding: `full`, `scaled`, or `auto`: the model family's own. What is in force (`chosen_decoding_and_pooling`)
            where None.
        pooling: `auto`, `avg`, `gem` or `head`; what is in force where None.
        centre: SHA-256 of the mean that is subtracted, empty for none; what is in force (`chosen_centre`) where None.

    Raises:
        ModelError: the name is unknown, its weights or the mean can't be found or don't fit, or it has no such pooling.
    """
    return _resolve_choice(home, _choose(home, name, weights, decoding, pooling, centre))


def record_space(
    home: Home,
    name: str | None = None,
    weights: Path | None = None,
    *,
    decoding: str | None = None,
    pooling: str | None = None,
    centre: str | None = None,
) -> Model:
    """Resolve a model and record its space and mean in the home, so that later processes need not compute them.

    Only what writes embeddings calls this. Arguments and errors are those of `resolve`.
    """
    choice = _choose(home, name, weights, decoding, pooling, centre)
    setting = home.settings.centre
    if choice.centre and isinstance(setting, Path) and mean_digest(setting) == choice.centre:
        keep_mean(home, setting)
    model = _resolve_choice(home, choice)
    write_space(home, choice, _defining_files(choice, model.weights), model.space)
    return model


def resolve_space(home: Home, space_id: str) -> Model:
    """Return the model of a space this home has used, whatever the settings are now.

    Raises:
        ModelError: the home has no record of the space, or its weights have changed since.
    """
    for recorded in recorded_spaces(home):
        space = recorded.space
        if space.id == space_id:
            choice = ModelChoice(
                space.model, recorded.weights, space.preprocessing.decoding, space.pooling, space.centre
            )
            model = _resolve_choice(home, choice)
            if model.space.id == space_id:
                return model
    raise ModelError(
        f"The embedding space {space_id} is not known in {home.path}, or its weights have changed",
        remedy="run `imgret run` with the model that is to be used, which rebuilds the graph",
    )


def space_of_last_run(home: Home) -> EmbeddingSpace | None:
    """Return the space of the model that the home has recorded, with the recorded decoding, pooling and mean.

    Homes of older versions have no decoding and pooling in their record. For them it is the space with the decoding and
    pooling of the settings, else the only space of this model of which the home has a record. None where no model is
    recorded, or which of several spaces it was can't be known.
    """
    record = home.record
    if record.model is None:
        return None
    weights, centre = _recorded_weights(home), record.centre or ""
    space = read_space(home, _choose(home, record.model, weights, record.decoding, record.pooling, centre))
    if space is not None:
        return space
    spaces = {
        recorded.space
        for recorded in recorded_spaces(home)
        if (recorded.space.model, recorded.weights, recorded.space.centre) == (record.model, weights, centre)
    }
    return spaces.pop() if len(spaces) == 1 else None


def space_in_use(home: Home) -> EmbeddingSpace:
    """Return the embedding space of the home's last run, in which tables and graph are.

    Raises:
        TableError: the home has no run yet.
    """
    space = space_of_last_run(home)
    if space is None:
        raise TableError(f"{home.path} contains no collection yet", remedy="run `imgret run --images FOLDER`")
    return space


def recorded_space(home: Home, name: str | None = None, weights: Path | None = None) -> EmbeddingSpace | None:
    """Return the space of the model in force if a run has recorded it, else None. Weights are neither read nor hashed.

    Args:
        home: the home; its model and weights are taken where `name` is None.
        name: name of the model.
        weights: a weights file instead of the model's usual one.

    Raises:
        ModelError: the name is unknown, or IMGRET_CENTRE names a file that holds no mean.
    """
    choice = _choose(home, name, weights, None, None, None)
    space = read_space(home, choice)
    if space is None and (choice.name, choice.weights) == (home.record.model, _recorded_weights(home)):
        # A home of an older version has recorded neither decoding nor pooling.
        return space_of_last_run(home)
    return space


def _recorded_weights(home: Home) -> Path | None:
    return Path(home.record.weights) if home.record.weights else None


def chosen_decoding_and_pooling(home: Home, name: str) -> tuple[str, str]:
    """Return decoding and pooling in force for a model: as set, else as recorded with this model, else `auto`."""
    settings, record = home.settings, home.record
    recorded = (record.decoding, record.pooling) if record.model == name else (None, None)
    decoding = settings.decoding if settings.decoding != "auto" else recorded[0] or "auto"
    pooling = settings.pooling if settings.pooling != "auto" else recorded[1] or "auto"
    return decoding, pooling


def chosen_centre(home: Home, name: str) -> str:
    """Return the SHA-256 of the mean in force for a model: as set, else as recorded with this model; empty for none.

    Raises:
        ModelError: IMGRET_CENTRE names a file that holds no mean.
    """
    setting, record = home.settings.centre, home.record
    if setting is None:
        return (record.centre if record.model == name else None) or ""
    return "" if setting == "none" else mean_digest(setting)


def _choose(
    home: Home, name: str | None, weights: Path | None, decoding: str | None, pooling: str | None, centre: str | None
) -> ModelChoice:
    """Complete the arguments of `resolve` from the home."""
    if name is None:
        name, weights = home.model, home.weights
    chosen_decoding, chosen_pooling = chosen_decoding_and_pooling(home, name)
    decoding = decoding or chosen_decoding
    if decoding == "auto":
        decoding = registry.auto_decoding(name)
    centre = chosen_centre(home, name) if centre is None else centre
    return ModelChoice(name, weights, decoding, pooling or chosen_pooling, centre)


def _resolve_choice(home: Home, choice: ModelChoice) -> Model:
    file, mean = registry.find_weights(choice.name, choice.weights), find_mean(home, choice.centre)
    space = read_current_space(home, choice, _defining_files(choice, file))
    if space is None:
        space = _define_space(choice, file, mean)
        check_source(home, space)
    return Model(space, file, mean)


def _defining_files(choice: ModelChoice, weights: Path | None) -> list[Path]:
    return registry.family_of(choice.name).defining_files(choice.name, weights)


def _define_space(choice: ModelChoice, weights: Path | None, mean: Path | None) -> EmbeddingSpace:
    definition = registry.family_of(choice.name).define(choice.name, weights, choice.pooling)
    if mean is not None:
        read_mean(mean, definition.dim)
    preprocessing = replace(definition.preprocessing, decoding=choice.decoding)
    return EmbeddingSpace(
        choice.name, definition.weights_sha256, preprocessing, definition.dim, definition.pooling, choice.centre
    )
