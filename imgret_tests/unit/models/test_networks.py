"""The layers for pooling and centring, against numpy."""

import numpy as np
import pytest
import torch

from imgret_assets.domain.models.networks import centred_network, pooled_network
from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_tests.support.torch_models import gem_reference


def test_a_zero_vector_stays_unusable() -> None:
    layer = centred_network(torch.nn.Identity(), np.full(4, 0.5, np.float32))
    with torch.inference_mode():
        found = layer(torch.tensor([[0.0, 0, 0, 0], [3, 0, 0, 4]])).numpy()
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], [0.1, -0.5, -0.5, 0.3], atol=1e-7)


def test_half_precision_reaches_the_layer_as_float32() -> None:
    """A mean taken away in bfloat16 would cost a third of a vector's digits again."""

    class Half(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs.bfloat16()

    values = torch.rand(5, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    mean = np.full(64, 0.1, np.float32)
    with torch.inference_mode():
        found = centred_network(Half(), mean)(values)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), unit_rows(values.float().numpy()) - mean, atol=1e-6)


@pytest.mark.parametrize("pooling", ["avg", "gem"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "tokens:0", "tokens:2"])
def test_pooling_is_over_the_places_in_every_layout(rng: np.random.Generator, layout: str, pooling: str) -> None:
    maps = rng.uniform(0.1, 2.0, (3, 5, 4, 6)).astype(np.float32)
    truth = maps.mean((2, 3)) if pooling == "avg" else gem_reference(torch.from_numpy(maps))
    features = torch.from_numpy(maps)
    if layout == "NHWC":
        features = features.permute(0, 2, 3, 1)
    elif layout.startswith("tokens"):
        prefix = torch.full((3, int(layout[-1]), 5), 1e3)
        features = torch.cat([prefix, features.flatten(2).transpose(1, 2)], dim=1)
    pooled = pooled_network(torch.nn.Identity(), pooling, layout)(features)
    assert pooled.shape == (3, 5)
    np.testing.assert_allclose(pooled.numpy(), truth, rtol=1e-5)
