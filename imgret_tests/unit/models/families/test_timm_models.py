"""Models of timm against timm itself, with seeded weights: nothing is downloaded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.data.config import resolve_data_config, resolve_model_data_config
from timm.data.transforms_factory import create_transform

from imgret_assets.domain.models.families import timm_models
from imgret_assets.domain.models.registry import weights_state
from imgret_assets.domain.models.resolution import (
    resolve,
)
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ModelError
from imgret_tests.support.means import LITE0
from imgret_tests.support.pictures import picture
from imgret_tests.support.torch_models import (
    CLIP,
    SIZES,
    SMALL,
    TINY,
    TinyWeights,
    TrainedNetwork,
    embed_images,
    gem_reference,
    input_batch,
    timm_configurations,
)


def test_a_timm_model_gives_timm_s_numbers(home: Home, trained_small: TrainedNetwork) -> None:
    file, network = trained_small
    images = [picture(seed, size) for seed, size in enumerate([(500, 375), (224, 224), (40, 90)])]
    transform = create_transform(**resolve_model_data_config(network), is_training=False)
    with torch.no_grad():
        batch = torch.stack([transform(image) for image in images])  # type: ignore[operator,misc]
        truth = network.forward_head(network.forward_features(batch), pre_logits=True).numpy()  # type: ignore[operator]
    model = resolve(home, SMALL, file)
    assert model.space.dim == truth.shape[1] == 1024
    np.testing.assert_allclose(embed_images(model, images), truth, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("pooling", ["avg", "gem"])
def test_pooling_is_over_the_places_of_the_last_features(
    home: Home, tiny_weights: TinyWeights, name: str, pooling: str
) -> None:
    model = resolve(home, name, tiny_weights(name), pooling=pooling)
    network = timm.create_model(name.removeprefix("timm:"), pretrained=False)
    network.load_state_dict(torch.load(tiny_weights(name), weights_only=True))
    inputs = input_batch(model)
    with torch.no_grad():
        features = network.eval().forward_features(inputs)  # type: ignore[operator]
        found = model.build()(inputs).numpy()
    if TINY[name] == "NHWC":
        features = features.permute(0, 3, 1, 2)
    if TINY[name].startswith("tokens"):
        features = features[:, int(TINY[name][-1]) :].transpose(1, 2).unsqueeze(3)
    truth = features.mean((2, 3)).numpy() if pooling == "avg" else gem_reference(features)
    assert found.shape == (2, model.space.dim)
    np.testing.assert_allclose(found, truth, rtol=1e-3, atol=1e-5)


def test_the_model_s_own_pooling_under_another_name_is_the_same_space(home: Home, tiny_weights: TinyWeights) -> None:
    for name, own in (("timm:test_resnet", "auto"), ("timm:test_vit", "avg")):
        spaces = [resolve(home, name, tiny_weights(name), pooling=pooling).space for pooling in ("auto", "avg", "gem")]
        assert [space.pooling for space in spaces] == ["auto", own, "gem"]
        assert len({space.id for space in spaces}) == (2 if own == "auto" else 3)
    assert resolve(home, LITE0, pooling="avg") == resolve(home, LITE0)


def test_a_hidden_layer_after_the_pooling_is_the_model_s_own(home: Home, trained_small: TrainedNetwork) -> None:
    own, averaged = (resolve(home, SMALL, trained_small[0], pooling=pooling).space for pooling in ("auto", "avg"))
    assert (own.dim, averaged.dim) == (1024, 288)
    assert (own.pooling, averaged.pooling) == ("auto", "avg")


def test_an_image_tower_of_clip_keeps_its_projection(home: Home, tiny_weights: TinyWeights) -> None:
    """Else its vectors could not be compared with those of texts."""
    model = resolve(home, CLIP, tiny_weights(CLIP))
    network = timm.create_model(CLIP.removeprefix("timm:"), pretrained=False)
    network.load_state_dict(torch.load(tiny_weights(CLIP), weights_only=True))
    inputs = input_batch(model)
    with torch.no_grad():
        truth = network.eval()(inputs).numpy()
    assert (model.space.dim, model.space.pooling) == (512, "auto")
    np.testing.assert_allclose(model.build()(inputs).numpy(), truth, rtol=0, atol=1e-6)
    assert resolve(home, CLIP, tiny_weights(CLIP), pooling="head").space == model.space
    averaged = resolve(home, CLIP, tiny_weights(CLIP), pooling="avg").space
    assert (averaged.dim, averaged.pooling) == (256, "avg")


def test_projections_are_distinguished_from_classifiers() -> None:
    """By the numbers of outputs, for which timm stands: no classifier has so few, no projection so many."""
    wrong = [
        name
        for name, config in timm_configurations().items()
        if timm_models.has_projection(config) != (0 < config["num_classes"] < 2048 and config["num_classes"] != 1000)
    ]
    assert wrong == []
    joint = {name for name, config in timm_configurations().items() if timm_models.is_joint(config)}
    assert {"vit_base_patch16_siglip_224.webli", "resnet50_clip.openai", "convnext_base.clip_laion2b"} <= joint
    for other in ("vit_base_patch16_siglip_gap_224.webli", "convnext_base.clip_laion2b_augreg_ft_in12k_in1k"):
        assert other in timm_configurations()
        assert other not in joint


def test_a_model_without_a_feature_map_says_which_poolings_it_has(home: Home, tiny_weights: TinyWeights) -> None:
    name = "timm:crossvit_tiny_240"
    with pytest.raises(ModelError, match=f"{name} ends in no feature map or patch tokens .*'gem'. Expected: auto."):
        resolve(home, name, tiny_weights(name), pooling="gem")
    assert resolve(home, name, tiny_weights(name)).space.dim == 288


def test_an_unknown_timm_model_is_an_error(home: Home) -> None:
    with pytest.raises(ModelError, match="timm has no model 'resnet_nonsense'"):
        resolve(home, "timm:resnet_nonsense")


def test_weights_that_can_not_be_fetched_are_an_error_with_the_remedy(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Name or service not known\nand a long story")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(
        ModelError, match=r"weights of timm:resnet18 can't be fetched \(OSError: Name or service not known\)"
    ):
        resolve(home, "timm:resnet18")


def test_fetched_weights_are_found_in_the_hub_s_cache(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = tmp_path / "hf/hub/models--timm--resnet18.a1_in1k/snapshots/abc"
    folder.mkdir(parents=True)
    names = ["timm:resnet18", "timm:resnet18.a1_in1k", "timm:resnet18.fb_ssl_yfcc100m_ft_in1k", "timm:hf_hub:me/mine"]
    assert {weights_state(name, None) for name in names} == {"at the hub"}
    (folder / "model.safetensors").write_bytes(b"")
    assert [weights_state(name, None) for name in names] == ["here", "here", "at the hub", "at the hub"]
    mine = tmp_path / "hf/hub/models--me--mine/snapshots/abc"
    mine.mkdir(parents=True)
    (mine / "model.safetensors").write_bytes(b"")
    assert weights_state("timm:hf_hub:me/mine", None) == "here"


def distinct_configurations() -> list[Any]:
    """Configurations that differ in anything a picture's pixels depend on; of the plain squares the smaller."""
    found = {}
    for config in timm_configurations().values():
        data = resolve_data_config(pretrained_cfg=config)
        _, height, width = data["input_size"]
        mean = data["mean"] if data["crop_mode"] == "border" else ()
        if data["crop_mode"] != "center" or data["crop_pct"] > 1 or height != width or height <= 240:
            key = (data["input_size"], data["crop_pct"], data["crop_mode"], data["interpolation"], tuple(mean))
            found[key] = data
    return [pytest.param(data, id="-".join(map(str, key[:4]))) for key, data in sorted(found.items(), key=str)]


@pytest.mark.parametrize("data", distinct_configurations())
def test_every_configuration_of_timm_gives_timm_s_pixels(data: dict[str, Any]) -> None:
    theirs = create_transform(**data, is_training=False, normalize=False)
    mine = timm_models.timm_preprocessing(data)
    for seed, size in enumerate([(301, 223), (61, 150), (7, 5)]):
        image = picture(seed, size)
        truth = theirs(image).numpy().transpose(1, 2, 0)  # type: ignore[operator,union-attr]
        np.testing.assert_array_equal(mine.resize_and_crop(image), truth)


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", SIZES)
def test_an_input_that_is_not_square_is_timm_s_too(size: tuple[int, int], crop_mode: str) -> None:
    data = {"input_size": (3, 96, 72), "crop_pct": 0.9, "mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28)}
    data |= {"interpolation": "bicubic", "crop_mode": crop_mode}
    theirs = create_transform(**data, is_training=False, normalize=False)
    image = picture(4, size)
    truth = theirs(image).numpy().transpose(1, 2, 0)  # type: ignore[operator,union-attr]
    np.testing.assert_array_equal(timm_models.timm_preprocessing(data).resize_and_crop(image), truth)


def test_there_are_configurations_of_every_kind() -> None:
    """Else the test above would say less than it seems to."""
    kinds = {
        (data["crop_mode"], data["crop_pct"] < 1) for (data,) in (param.values for param in distinct_configurations())
    }
    assert kinds >= {("center", True), ("center", False), ("squash", True), ("squash", False), ("border", False)}


def test_normalising_is_timm_s() -> None:
    data = {"input_size": (3, 32, 48), "crop_pct": 0.9, "mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28)}
    data |= {"interpolation": "bicubic", "crop_mode": "squash"}
    image = picture(3, (61, 150))
    theirs = create_transform(**data, is_training=False)
    mine = timm_models.timm_preprocessing(data)
    np.testing.assert_allclose(mine.apply(image), theirs(image).numpy(), rtol=0, atol=1e-6)  # type: ignore[operator,union-attr]
