"""What all families have in common."""

import pytest

from imgret_assets.domain.models.resolution import (
    resolve,
)
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ModelError
from imgret_tests.support.means import LITE0
from imgret_tests.support.torch_models import (
    TinyWeights,
)


@pytest.mark.parametrize("name", ["resnet50", LITE0, "timm:test_resnet"])
def test_a_classifier_has_no_projection(home: Home, tiny_weights: TinyWeights, name: str) -> None:
    file = tiny_weights(name) if name.startswith("timm") else None
    if name == "resnet50":
        file = home.path / "w.pth"
        file.write_bytes(b"")
    with pytest.raises(ModelError, match=f"{name} has no head that projects.*Expected: as pooling auto.* avg or gem"):
        resolve(home, name, file, pooling="head")
