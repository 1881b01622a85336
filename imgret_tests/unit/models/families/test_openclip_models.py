"""Models of open_clip against open_clip itself, with seeded weights: nothing is downloaded."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2

from imgret_assets.domain.models.families.openclip_models import OPENCLIP, open_clip_preprocessing
from imgret_assets.domain.models.registry import family_of, weights_state
from imgret_assets.domain.models.resolution import has_text_tower, record_space, resolve, resolve_space
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ModelError, QueryError
from imgret_tests.support.pictures import picture
from imgret_tests.support.tiny_clip import changed_config, make_tiny_clip
from imgret_tests.support.torch_models import SIZES, embed_images


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a tiny model."""
    return make_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("openclip:ViT-B-32/laion2b_s34b_b79k", True),
        ("openclip:local-dir:/models/tiny clip", True),
        ("openclip:ViT-B-32", False),
        ("openclip:local-dir:", False),
        ("openclip:hf-hub:org/name", False),
        ("openclip:a/b/c", False),
        ("openclip:$(id)/x", False),
    ],
)
def test_names(name: str, known: bool) -> None:
    assert OPENCLIP.matches(name) == known
    if known:
        assert family_of(name) is OPENCLIP


def test_image_vectors_are_open_clip_s(home: Home, tiny: str) -> None:
    create: Any = open_clip.create_model_from_pretrained
    original, transform = create(tiny.removeprefix("openclip:"))
    images = [picture(seed, size) for seed, size in enumerate([(500, 375), (32, 32), (40, 90)])]
    with torch.inference_mode():
        truth = original.eval().encode_image(torch.stack([transform(image) for image in images])).numpy()
    model = resolve(home, tiny)
    assert (model.space.dim, model.space.preprocessing.mean) == (24, (0.4, 0.5, 0.6))
    assert np.linalg.matrix_rank(truth) == len(images)
    np.testing.assert_allclose(embed_images(model, images), truth, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [32, (32, 32), (48, 20)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_preprocessing_is_open_clip_s(mode: str, size: Any, interpolation: str) -> None:
    config: dict[str, Any] = {"size": size, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "fill_color": 40}
    config |= {"resize_mode": mode, "interpolation": interpolation}
    pair = size if isinstance(size, tuple) else (size, size)
    original: dict[str, Any] = config | {"size": pair}
    reference: Any = image_transform_v2(PreprocessCfg(**original), is_train=False)
    preprocessing = open_clip_preprocessing(config)
    # Images of more than 64 times as many pixels across as down are cut before: see `MAX_ASPECT_RATIO`.
    for number, shape in enumerate(shape for shape in SIZES if max(shape) <= 40 * min(shape)):
        image = picture(number, shape)
        np.testing.assert_allclose(preprocessing.apply(image), reference(image).numpy(), rtol=0, atol=1e-6)


def test_all_of_open_clip_s_own_preprocessings_are_known() -> None:
    defaults = PreprocessCfg().__dict__
    seen = set()
    for architecture, tag in open_clip.list_pretrained():
        config = defaults | {
            key: value for key, value in open_clip.get_pretrained_cfg(architecture, tag).items() if key in defaults
        }
        preprocessing = open_clip_preprocessing(config)
        seen.add((preprocessing.crop, preprocessing.interpolation, preprocessing.mean))
    assert len(seen) > 3


def test_the_space_is_defined_by_checkpoint_and_configuration(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    name = make_tiny_clip(folder)
    space = record_space(home, name).space
    assert resolve(home, name).space == space == resolve_space(home, space.id).space
    # Other weights, then another activation of the same weights.
    make_tiny_clip(folder, seed=6)
    other_weights = resolve(home, name).space
    config = changed_config(model_cfg__quick_gelu=True)
    make_tiny_clip(folder, config, seed=6)
    other_activation = resolve(home, name).space
    assert len({space.id, other_weights.id, other_activation.id}) == 3
    with pytest.raises(ModelError, match=r"is not known in .*, or its weights have changed"):
        resolve_space(home, space.id)
    make_tiny_clip(folder, changed_config(preprocess_cfg__interpolation="bilinear"))
    assert resolve(home, name).space.preprocessing.interpolation == "bilinear"


def test_a_long_path_has_an_id_that_is_a_file_name(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120) / ("y" * 120)
    space = record_space(home, make_tiny_clip(folder)).space
    assert len(space.id) < 120


def test_a_mean_that_is_subtracted_leaves_no_text_tower(home: Home, tiny: str) -> None:
    model = resolve(home, tiny)
    assert has_text_tower(model.space)
    centred = replace(model.space, centre="0" * 64)
    assert not has_text_tower(centred)
    with pytest.raises(QueryError, match=r"the mean of images is subtracted.*IMGRET_CENTRE=none imgret run"):
        replace(model, space=centred).build_text_tower()


def test_pooling_is_its_own(home: Home, tiny: str) -> None:
    assert resolve(home, tiny, pooling="head").space == resolve(home, tiny).space
    with pytest.raises(ModelError, match=r"no pooling 'gem'.*Expected: auto or head"):
        resolve(home, tiny, pooling="gem")


def test_a_custom_text_tower_is_built(home: Home, tmp_path: Path) -> None:
    """Models like SigLIP have their text tower in a module of its own."""
    name = make_tiny_clip(tmp_path / "tiny", changed_config(model_cfg__custom_text=True))
    model = resolve(home, name)
    tower = model.build_text_tower()
    ids = torch.from_numpy(tower.tokenizer.encode("a red car").ids)
    with torch.inference_mode():
        np.testing.assert_allclose(tower.network(ids).numpy(), tower.reference(["a red car"]).numpy(), atol=1e-6)


def test_a_checkpoint_in_another_file_is_taken(home: Home, tiny: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_tiny_clip(other, seed=9)
    model = resolve(home, tiny, other / "open_clip_pytorch_model.bin")
    assert model.space.weights_sha256 != resolve(home, tiny).space.weights_sha256
    expected = embed_images(resolve(home, f"openclip:local-dir:{other}"), [picture(1)])
    np.testing.assert_array_equal(embed_images(model, [picture(1)]), expected)


LAION, VITAMIN = "ViT-B-32/laion2b_s34b_b79k", "ViTamin-S/datacomp1b"


@pytest.mark.parametrize(
    ("name", "repository", "file"),
    [
        (LAION, "laion--CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip_model.safetensors"),
        (LAION, "laion--CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip_pytorch_model.bin"),
        (VITAMIN, "jienengchen--ViTamin-S", "pytorch_model.bin"),
    ],
)
def test_fetched_weights_are_found_in_the_hub_s_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, repository: str, file: str
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / f"models--{repository}" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "README.md").write_bytes(b"")
    assert weights_state(f"openclip:{name}", None) == "at the hub"
    (folder / file).symlink_to(tmp_path / "content")
    assert weights_state(f"openclip:{name}", None) == "at the hub"
    (tmp_path / "content").write_bytes(b"")
    assert weights_state(f"openclip:{name}", None) == "here"
    assert weights_state("openclip:ViT-L-14/laion2b_s32b_b82k", None) == "at the hub"


def test_where_the_weights_are(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert weights_state(tiny, None) == "here"
    assert weights_state(f"openclip:local-dir:{tmp_path}/none", None) == "missing"
    assert weights_state("openclip:ViT-B-32/laion2b_s34b_b79k", None) == "at the hub"
    assert weights_state("openclip:No-Such/model", None) == "at the hub"
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert weights_state(tiny, None) == "missing"


def test_without_open_clip_the_error_says_how_to_install_it(
    home: Home, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setattr("imgret_assets.locations.is_checkout", lambda: False)
    with pytest.raises(ModelError, match=r"open_clip_torch is not installed.*pip install 'imgret\[clip\]'"):
        resolve(home, tiny)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openclip:ViT-B-33/openai", r"no architecture 'ViT-B-33'; did you mean ViT-B-32"),
        ("openclip:ViT-B-32/laion9b", r"no pretrained 'laion9b' of ViT-B-32.*laion2b_s34b_b79k"),
        ("openclip:ViT-B-32/openai", r"another activation.*use openclip:ViT-B-32-quickgelu/openai"),
        ("openclip:local-dir:here", r"is not an absolute path.*name it openclip:local-dir:/"),
        ("openclip:local-dir:/nowhere/at/all", r"/nowhere/at/all is not a folder"),
    ],
)
def test_a_model_that_is_not_there(home: Home, name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        resolve(home, name)


def test_a_pretrained_model_that_cannot_be_fetched(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_config: dict[str, Any]) -> str:
        raise FileNotFoundError("no network")

    monkeypatch.setattr(open_clip, "download_pretrained", refuse)
    with pytest.raises(ModelError, match=r"can't be fetched \(FileNotFoundError: no network\).*local-dir:<folder>"):
        resolve(home, "openclip:ViT-B-32/laion2b_s34b_b79k")


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.file,)


def test_code_in_a_checkpoint_is_not_run(home: Home, tmp_path: Path) -> None:
    name, trap = make_tiny_clip(tmp_path / "tiny"), tmp_path / "trap"
    file = tmp_path / "tiny" / "open_clip_pytorch_model.bin"
    file.write_bytes(pickle.dumps({"visual.proj": Evil(trap)}))
    with pytest.raises(ModelError, match=r"is not a checkpoint of openclip:local-dir:"):
        resolve(home, name)
    torch.save({"visual.proj": Evil(trap)}, file)
    with pytest.raises(ModelError, match=r"is not a checkpoint of openclip:local-dir:"):
        resolve(home, name)
    assert not trap.exists()


def _write(folder: Path, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "open_clip_config.json").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"open_clip_config\.json can't be read \(JSONDecodeError\)"),
        ("[" * 100_000, r"open_clip_config\.json can't be read \(RecursionError\)"),
        ([], r"is not a configuration of open_clip.*model_cfg"),
        ({"model_cfg": {"embed_dim": 4}}, r"is not a configuration of open_clip.*vision_cfg"),
        (" " * (2 << 20), r"has 2,097,152 bytes.*some kilobytes"),
        (changed_config(model_cfg__embed_dim="x"), r"open_clip can't build"),
        (changed_config(model_cfg__vision_cfg__surprise=1), r"open_clip can't build .*surprise"),
        (changed_config(model_cfg__embed_dim=25), r"is not a checkpoint of .*size mismatch|is not a checkpoint of"),
        (changed_config(model_cfg__text_cfg__hf_model_name="roberta-base"), r"roberta-base of transformers"),
        (changed_config(model_cfg__vision_cfg__timm_model_name="hf-hub:org/net"), r"fetched from elsewhere"),
        (changed_config(preprocess_cfg__std=[0, 1, 1]), r"open_clip can't prepare images .*std is"),
        (changed_config(preprocess_cfg__mean="grey"), r"open_clip can't prepare images"),
        (changed_config(preprocess_cfg__resize_mode="cut"), r"resize_mode is 'cut'"),
    ],
)
def test_a_bad_configuration_is_named(home: Home, tmp_path: Path, content: Any, message: str) -> None:
    name = make_tiny_clip(tmp_path / "tiny")
    _write(tmp_path / "tiny", content)
    with pytest.raises(ModelError, match=message):
        resolve(home, name)


def test_one_checkpoint_must_be_there(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    name = make_tiny_clip(folder)
    space = resolve(home, name).space
    (folder / "open_clip_pytorch_model.bin").rename(folder / "mine.bin")
    # A name of one's own is fine where it is the only one.
    assert resolve(home, name).space == space
    (folder / "yours.pth").write_bytes(b"")
    with pytest.raises(ModelError, match=r"several checkpoints: mine\.bin, yours\.pth"):
        resolve(home, name)
    (folder / "mine.bin").unlink()
    (folder / "yours.pth").unlink()
    with pytest.raises(ModelError, match=r"has no checkpoint"):
        resolve(home, name)
    (folder / "open_clip_config.json").unlink()
    with pytest.raises(ModelError, match=r"has no open_clip_config\.json"):
        resolve(home, name)


def test_safetensors_are_read(home: Home, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = tmp_path / "tiny"
    name = make_tiny_clip(folder)
    expected = embed_images(resolve(home, name), [picture(1)])
    file = folder / "open_clip_pytorch_model.bin"
    save_file(torch.load(file, weights_only=True), folder / "open_clip_model.safetensors")
    file.unlink()
    np.testing.assert_array_equal(embed_images(resolve(home, name), [picture(1)]), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_cfg__text_cfg__hf_tokenizer_name": "bert-base-uncased"}, r"bert-base-uncased, which imgret does not"),
        ({"model_cfg__text_cfg__tokenizer_kwargs": {"reduction_mask": "random"}}, r"reduction_mask"),
        ({"model_cfg__text_cfg__vocab_size": 100}, r"embeddings of 100 tokens.*49,408"),
    ],
)
def test_a_text_tower_with_another_tokenizer_is_refused_and_images_are_not(
    home: Home, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    model = resolve(home, make_tiny_clip(tmp_path / "tiny", changed_config(**changes)))
    assert embed_images(model, [picture(1)]).shape == (1, 24)
    with pytest.raises(ModelError, match=message):
        model.build_text_tower()
