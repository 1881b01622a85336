"""The list of models: a new model family is a module in `families` and an entry here.

Belongs here: the list, finding the entry of a name, building a network by its name. Not here: what belongs to one
family (`domain.models.families`), which model a home uses (`domain.models.resolution`). Nothing here imports torch.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from imgret_assets.domain.models.families.efficientnet_lite0 import EFFICIENTNET_LITE0
from imgret_assets.domain.models.families.efficientnet_lite2 import EFFICIENTNET_LITE2
from imgret_assets.domain.models.families.openclip_models import OPENCLIP
from imgret_assets.domain.models.families.resnet50 import RESNET50
from imgret_assets.domain.models.families.timm_models import TIMM
from imgret_assets.domain.models.means import read_mean
from imgret_assets.domain.models.model_family import Decoding, ModelFamily, NamedModel, WeightsState
from imgret_assets.domain.models.networks import centred_network
from imgret_assets.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    import torch

# In the order in which messages and lists name them.
NAMED_MODELS: tuple[NamedModel, ...] = (RESNET50, EFFICIENTNET_LITE0, EFFICIENTNET_LITE2)
FAMILIES: tuple[ModelFamily, ...] = (*NAMED_MODELS, TIMM, OPENCLIP)


def family_of(name: str, setting: str = "IMGRET_MODEL or --model") -> ModelFamily:
    """Return the family of a model.

    Args:
        name: the model's name.
        setting: the setting that named it, for the message.

    Raises:
        ModelError: no family has a model of this name.
    """
    for family in FAMILIES:
        if family.matches(name):
            return family
    raise ModelError(
        f"There is no model {name!r}{did_you_mean(name, (family.pattern for family in FAMILIES))}",
        expected=" or ".join(family.pattern for family in FAMILIES),
        remedy=f"correct {setting}",
    )


def has_text_tower(name: str) -> bool:
    """Return whether a model's images can be asked by text; False for an unknown name, which an old record may have."""
    return any(family.has_text_tower for family in FAMILIES if family.matches(name))


def text_tower_patterns() -> str:
    """Return the names or patterns of the models whose images can be asked by text, for messages."""
    return " or ".join(family.pattern for family in FAMILIES if family.has_text_tower)


def auto_decoding(name: str) -> Decoding:
    """Return what IMGRET_DECODING=auto means for a model; `scaled` for an unknown one, which an old record may name."""
    decodings: list[Decoding] = [family.auto_decoding for family in FAMILIES if family.matches(name)]
    return decodings[0] if decodings else "scaled"


def find_weights(name: str, weights: Path | None) -> Path | None:
    """Return the weights file of a model: the user's where one is set, else the model's usual one.

    None stands for weights that a library fetches or has in its cache.

    Raises:
        ModelError: the name is unknown, or there is no such file.
    """
    family = family_of(name)
    if weights is None:
        return family.usual_weights(name)
    if not weights.is_file():
        raise ModelError(
            f"The weights file {weights} does not exist", remedy="set IMGRET_WEIGHTS to a file, or remove it"
        )
    return weights


def weights_state(name: str, weights: Path | None) -> WeightsState:
    """Return where the weights of a model are, without importing torch or timm.

    Args:
        name: the model's name.
        weights: the weights file that the user named; None for the model's usual one.
    """
    try:
        if weights is None:
            return family_of(name).usual_weights_state(name)
        find_weights(name, weights)
    except ModelError:
        return "missing"
    return "here"


def build_network(
    name: str, weights: Path | None, pooling: str = "auto", mean: Path | None = None
) -> "torch.nn.Module":
    """Build a model's network in evaluation mode; it maps float32 (n, 3, height, width) to (n, dim).

    Args:
        name: the model's name.
        weights: its weights file; None where a library fetches the weights.
        pooling: as `ModelFamily.define` takes it.
        mean: a file with a mean (`domain.models.means`): vectors are scaled to length 1 and the mean is subtracted.
            None leaves them as they are.

    Raises:
        ModelError: the name is unknown, the weights or the mean can't be loaded or don't fit, or the model has no such
            pooling.
    """
    built = family_of(name).build(name, weights, pooling)
    network = built.network if mean is None else centred_network(built.network, read_mean(mean, built.dim))
    return network.eval().requires_grad_(False)
