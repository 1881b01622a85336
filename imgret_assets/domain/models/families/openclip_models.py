"""Models of open_clip, by the names `openclip:<architecture>/<pretrained>` and `openclip:local-dir:<folder>`.

Belongs here: building both towers from one checkpoint, their preprocessing and tokenizer. Not here: the files of a
folder (`domain.models.families.openclip_folders`), tokenizing (`domain.models.text_tokenizer`), running a text tower
(`domain.inference.text_engine`). open_clip and torch are imported by the functions that need them.
"""

import importlib.util
import math
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret_assets.domain.models.families.openclip_folders import (
    CONFIG_FILE,
    find_checkpoint,
    folder_digest,
    read_config,
)
from imgret_assets.domain.models.model_family import Decoding, Definition, ModelFamily, WeightsState
from imgret_assets.domain.models.networks import BuiltNetwork, BuiltTextTower
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.models.text_tokenizer import TextTokenizer, TokenizerRules, missing_package_error
from imgret_assets.domain.models.weights import file_sha256, is_in_hub_cache
from imgret_assets.errors import ModelError, did_you_mean, first_line

if TYPE_CHECKING:
    import torch

PREFIX = "openclip:"
_FOLDER = f"{PREFIX}local-dir:"


@dataclass(frozen=True)
class _Source:
    """What defines a model: open_clip's configurations and the checkpoint."""

    model_config: dict[str, Any]
    preprocess_config: Mapping[str, Any]
    checkpoint: Path
    digest: str


class OpenClipModels(ModelFamily):
    """The models of open_clip. Their checkpoint is in a folder, in a file, or fetched from the Hugging Face hub."""

    auto_decoding: Decoding = "scaled"
    has_text_tower = True

    @property
    def pattern(self) -> str:
        """The patterns, as messages show them."""
        return f"{PREFIX}<architecture>/<pretrained> or {_FOLDER}<folder>"

    def matches(self, name: str) -> bool:
        """Return whether it is a name of one of these forms; that there is such a model is known when it is built."""
        if name.startswith(_FOLDER):
            return len(name) > len(_FOLDER)
        return re.fullmatch(rf"{PREFIX}[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", name) is not None

    def usual_weights(self, name: str) -> Path | None:
        """Return the checkpoint of a folder; None for a pretrained model, whose checkpoint open_clip fetches."""
        return find_checkpoint(_folder(name)) if name.startswith(_FOLDER) else None

    def usual_weights_state(self, name: str) -> WeightsState:
        """Return whether the checkpoint is on this machine, in a folder or a cache, or would be fetched."""
        _require_open_clip()
        return "here" if self.usual_weights(name) is not None or _is_cached(name) else "at the hub"

    def defining_files(self, name: str, weights: Path | None) -> list[Path]:
        """Return the checkpoint and, in a folder, the configuration."""
        config = [_folder(name) / CONFIG_FILE] if name.startswith(_FOLDER) else []
        return [*super().defining_files(name, weights), *config]

    def define(self, name: str, weights: Path | None, pooling: str) -> Definition:
        """Return what the model contributes to its embedding space; only the built network tells."""
        source = _source(name, weights)
        built = _image_network(name, _load(name, source), pooling, source)
        return Definition(built.preprocessing, built.dim, built.pooling, source.digest)

    def build(self, name: str, weights: Path | None, pooling: str) -> BuiltNetwork:
        """Build the image tower and load its weights."""
        source = _source(name, weights)
        return _image_network(name, _load(name, source), pooling, source)

    def build_text_tower(self, name: str, weights: Path | None) -> BuiltTextTower:
        """Build the text tower and load its weights, from the checkpoint of the image tower."""
        source = _source(name, weights)
        model = _load(name, source)
        tokenizer = _tokenizer(name, source.model_config["text_cfg"])

        def reference(texts: list[str]) -> "torch.Tensor":
            return model.encode_text(_open_clip_tokenizer(source.model_config["text_cfg"])(texts))

        return BuiltTextTower(_tower(model, "encode_text"), tokenizer, reference)


OPENCLIP = OpenClipModels()


def open_clip_preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """Return what open_clip's `image_transform` does with a preprocessing configuration when it is not training."""
    size, mode = config["size"], config["resize_mode"]
    if mode not in ("shortest", "longest", "squash"):
        raise ValueError(f"resize_mode is {mode!r}, not shortest, longest or squash")
    height, width = (size, size) if isinstance(size, int) else size
    # open_clip resizes to a shape that is not square by its default interpolation, whatever the configuration says.
    default = mode == "shortest" and height != width
    return Preprocessing(
        size=(height, width),
        mean=_triple(config["mean"]),
        std=_deviations(config["std"]),
        crop=None if mode == "squash" else 1.0,
        interpolation="bilinear" if config["interpolation"] == "bilinear" and not default else "bicubic",
        crop_mode="border" if mode == "longest" else "center",
        border=_colour(config["fill_color"]) if mode == "longest" else None,
    )


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = values if isinstance(values, list | tuple) else (values, values, values)
    return float(red), float(green), float(blue)


def _deviations(values: Any) -> tuple[float, float, float]:
    deviations = _triple(values)
    if not all(0 < value < math.inf for value in deviations):
        raise ValueError(f"std is {deviations}, and must be above 0")
    return deviations


def _colour(values: Any) -> tuple[int, int, int]:
    red, green, blue = _triple(values)
    return int(red), int(green), int(blue)


def _folder(name: str) -> Path:
    return Path(name.removeprefix(_FOLDER))


def _require_open_clip() -> None:
    if importlib.util.find_spec("open_clip") is None:
        raise missing_package_error("open_clip_torch")


def _source(name: str, weights: Path | None) -> _Source:
    """Find the configurations and the checkpoint of a model; a pretrained one may be downloaded."""
    _require_open_clip()
    if name.startswith(_FOLDER):
        folder = _folder(name)
        config, checkpoint = read_config(folder), weights or find_checkpoint(folder)
        return _Source(config["model_cfg"], config["preprocess_cfg"], checkpoint, folder_digest(folder, checkpoint))
    import open_clip

    architecture, _, tag = name.removeprefix(PREFIX).partition("/")
    model_config, pretrained = open_clip.get_model_config(architecture), open_clip.get_pretrained_cfg(architecture, tag)
    if model_config is None:
        raise ModelError(
            f"open_clip has no architecture {architecture!r}{did_you_mean(architecture, open_clip.list_models())}",
            remedy="`python -c 'import open_clip; print(open_clip.list_pretrained())'` lists its models",
        )
    if not pretrained:
        known = [tag for model, tag in open_clip.list_pretrained() if model == architecture]
        raise ModelError(
            f"open_clip has no pretrained {tag!r} of {architecture}", expected=" or ".join(known) or "another model"
        )
    if bool(pretrained.get("quick_gelu")) != bool(model_config.get("quick_gelu")):
        raise ModelError(
            f"{architecture} has another activation than {tag} was trained with",
            remedy=f"use {PREFIX}{architecture}-quickgelu/{tag}"
            if pretrained.get("quick_gelu")
            else f"use {PREFIX}{architecture.removesuffix('-quickgelu')}/{tag}",
        )
    checkpoint = weights or _fetch(name, pretrained)
    return _Source(model_config, pretrained, checkpoint, file_sha256(checkpoint))


def _fetch(name: str, pretrained: Mapping[str, Any]) -> Path:
    """Return the checkpoint of a pretrained model in the cache of open_clip or of the hub, downloaded if needed."""
    import open_clip

    try:
        return Path(open_clip.download_pretrained(dict(pretrained)))
    except Exception as error:  # open_clip, huggingface_hub and urllib each raise their own when there is no network
        raise ModelError(
            f"The weights of {name} can't be fetched ({type(error).__name__}: {first_line(error)})",
            remedy="fetch them once where there is a network, give the checkpoint with IMGRET_WEIGHTS or --weights, "
            f"or copy the model's repository to a folder and use {_FOLDER}<folder>",
        ) from error


def _is_cached(name: str) -> bool:
    """Return whether `_fetch` would find the checkpoint in the hub's cache; False if open_clip has no such model."""
    import open_clip
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    architecture, _, tag = name.removeprefix(PREFIX).partition("/")
    repository, _, file = open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub", "").rpartition("/")
    # open_clip prefers the same weights in the other format.
    files = (str(Path(file).with_suffix(".safetensors")), file) if file else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    return bool(repository) and any(is_in_hub_cache(repository, one) for one in files)


def _load(name: str, source: _Source) -> Any:
    """Build a model with both towers and load its checkpoint. No code in the checkpoint is run.

    Raises:
        ModelError: open_clip can't build it, or the checkpoint doesn't fit.
    """
    import open_clip

    config = deepcopy(source.model_config)
    _refuse_downloads(name, config)
    custom = config.pop("custom_text", False)
    kind: Any = (
        open_clip.CLIP if not custom else open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    )
    try:
        model = kind(**config)
    except Exception as error:  # a wrong configuration meets errors of every kind
        raise ModelError(
            f"open_clip can't build {name} ({type(error).__name__}: {first_line(error)})",
            expected="a configuration that open_clip's own models have",
        ) from error
    try:
        open_clip.load_checkpoint(model, str(source.checkpoint), weights_only=True)
    except Exception as error:  # a wrong file meets unpickling, zip and tensor errors of every kind
        raise ModelError(
            f"{source.checkpoint} is not a checkpoint of {name} ({type(error).__name__}: {first_line(error)})",
            expected="tensors of this model, saved by torch.save as a state dict or in a .safetensors file",
        ) from error
    return model.float().eval().requires_grad_(False)


def _refuse_downloads(name: str, config: Mapping[str, Any]) -> None:
    """Refuse a configuration for which open_clip would fetch a tower's definition from elsewhere."""
    text, image = config["text_cfg"], config["vision_cfg"]
    if text.get("hf_model_name"):
        raise ModelError(
            f"The text tower of {name} is {text['hf_model_name']} of transformers, which imgret does not load",
            remedy="use a model whose text tower is open_clip's own",
        )
    if re.search(r"[:/]", str(image.get("timm_model_name") or "")):
        raise ModelError(
            f"The image tower of {name} is {image['timm_model_name']}, which would be fetched from elsewhere",
            expected="the name of one of timm's own models",
        )


def _image_network(name: str, model: Any, pooling: str, source: _Source) -> BuiltNetwork:
    import torch
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    if pooling not in ("auto", "head"):
        raise ModelError(
            f"{name} has its own projection into the space joint with texts, and no pooling {pooling!r}",
            expected="auto or head",
            remedy="set IMGRET_POOLING=auto",
        )
    config = merge_preprocess_dict(asdict(PreprocessCfg()), dict(source.preprocess_config))
    config["size"] = getattr(model.visual, "image_size", config["size"])
    try:
        preprocessing = open_clip_preprocessing(config)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"open_clip can't prepare images by {config} ({first_line(error)})") from error
    # The image tower alone, but for models that add layers to it.
    network = _tower(model, "encode_image") if hasattr(model, "text_decoder") else model.visual
    with torch.inference_mode():
        output = network(torch.zeros(1, 3, *preprocessing.size))
    shape = tuple(getattr(output, "shape", ()))
    if len(shape) != 2:
        raise ModelError(f"The image tower of {name} gives outputs of shape {shape}", expected="one vector")
    return BuiltNetwork(network, preprocessing, shape[1], "auto")


def _tower(model: Any, method: str) -> "torch.nn.Module":
    """Return a module whose call is a method of a model, without normalising."""
    import torch

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.encode = getattr(model, method)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.encode(inputs)

    return Tower().eval()


def _open_clip_tokenizer(config: Mapping[str, Any]) -> Any:
    """Return open_clip's own tokenizer for a configuration of a text tower."""
    import open_clip

    return open_clip.SimpleTokenizer(
        context_length=config.get("context_length", 77), clean=config.get("tokenizer_kwargs", {}).get("clean", "lower")
    )


def _tokenizer(name: str, config: Mapping[str, Any]) -> TextTokenizer:
    """Return the tokenizer of a text tower.

    Raises:
        ModelError: it is one of transformers, or the tower has too few embeddings for it.
    """
    options = config.get("tokenizer_kwargs") or {}
    if config.get("hf_tokenizer_name") or set(options) - {"clean"}:
        raise ModelError(
            f"The tokenizer of {name} is {config.get('hf_tokenizer_name') or options}, which imgret does not load",
            remedy="use a model with the tokenizer of CLIP; images can be asked with images all the same",
        )
    original = _open_clip_tokenizer(config)
    rules = TokenizerRules(
        original.context_length, options.get("clean", "lower"), original.sot_token_id, original.eot_token_id
    )
    ids = {token: number for token, number in original.encoder.items() if number not in original.all_special_ids}
    tokenizer = TextTokenizer.create(ids, list(original.bpe_ranks), rules)
    if tokenizer.size > config.get("vocab_size", tokenizer.size):
        raise ModelError(
            f"The text tower of {name} has embeddings of {config['vocab_size']:,} tokens",
            expected=f"{tokenizer.size:,}, as the tokenizer has",
        )
    return tokenizer
