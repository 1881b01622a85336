"""ResNet50 against the article's own lines, on torchvision, with seeded weights: nothing is downloaded."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torchvision import transforms

from imgret_assets.domain.models.families import resnet50
from imgret_assets.domain.models.registry import find_weights
from imgret_assets.domain.models.resolution import (
    resolve,
)
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ModelError
from imgret_tests.support.pictures import picture
from imgret_tests.support.torch_models import (
    TrainedNetwork,
    embed_images,
    gem_reference,
    input_batch,
)


def test_resnet50_gives_the_numbers_of_the_article(home: Home, trained_resnet50: TrainedNetwork) -> None:
    """The article's own lines, on torchvision."""
    file, network = trained_resnet50
    images = [picture(seed, size) for seed, size in enumerate([(500, 375), (40, 90)])]
    preprocess = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
    extractor = torch.nn.Sequential(*list(network.children())[:-1]).eval()
    with torch.no_grad():
        truth = [extractor(preprocess(image).unsqueeze(0)).flatten().numpy() for image in images]  # type: ignore[union-attr]
    model = resolve(home, "resnet50", file)
    assert model.space.dim == 2048
    found = embed_images(model, images)
    assert (found.shape, found.dtype) == ((2, 2048), np.float32)
    np.testing.assert_allclose(found, np.stack(truth), rtol=0, atol=1e-5)
    assert np.abs(np.stack(truth)).max() > 0.1


def test_gem_of_resnet50_is_the_mean_of_cubes_over_its_last_map(home: Home, trained_resnet50: TrainedNetwork) -> None:
    file, network = trained_resnet50
    model = resolve(home, "resnet50", file, pooling="gem")
    assert (model.space.dim, model.space.pooling) == (2048, "gem")
    inputs = input_batch(model)
    with torch.no_grad():
        features = torch.nn.Sequential(*list(network.children())[:-2])(inputs)
        found = model.build()(inputs).numpy()
    np.testing.assert_allclose(found, gem_reference(features), rtol=1e-4, atol=1e-6)
    assert not np.allclose(found, features.mean((2, 3)).numpy(), rtol=0.1)


@pytest.mark.parametrize(
    ("variable", "below"), [("TORCH_HOME", ""), ("XDG_CACHE_HOME", "torch/"), ("HOME", ".cache/torch/")]
)
def test_resnet50_is_looked_for_where_torch_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, below: str
) -> None:
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    file = tmp_path / f"{below}hub/checkpoints/resnet50-0676ba61.pth"
    assert resnet50.cached_weights() == file == Path(torch.hub.get_dir()) / "checkpoints/resnet50-0676ba61.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert find_weights("resnet50", None) == file


def test_the_name_of_the_cached_file_is_torchvision_s() -> None:
    url = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url
    assert url.rpartition("/")[2] == resnet50.WEIGHTS_FILE


def test_without_weights_the_error_names_three_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ModelError) as problem:
        find_weights("resnet50", None)
    said = str(problem.value)
    assert str(tmp_path) in said
    for remedy in ("(1) run `imgret setup`", "(2) set IMGRET_WEIGHTS", "(3) use IMGRET_MODEL=efficientnet_lite0"):
        assert remedy in said
