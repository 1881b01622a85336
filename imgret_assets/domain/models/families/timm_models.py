"""All models of timm, by the names `timm:<name>`: their configuration says how images become input.

Belongs here: what only timm's models need: their preprocessing, their poolings, the list of them. Not here: the pooling
layer itself (`domain.models.networks`). timm and torch are imported by the functions that need them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret_assets.domain.models.model_family import Decoding, Definition, ModelFamily, WeightsState
from imgret_assets.domain.models.networks import BuiltNetwork, no_projection_error, pooled_network
from imgret_assets.domain.models.preprocessing import INTERPOLATIONS, Preprocessing
from imgret_assets.domain.models.weights import file_sha256, is_in_hub_cache, load_state, network_sha256, read_state
from imgret_assets.errors import ModelError, first_line

if TYPE_CHECKING:
    import torch

PREFIX = "timm:"
# Parts of the names of timm's image towers of models like CLIP. Fine-tuned ones have such a name, too, but 1,000
# classes or more; a projection has as many outputs as the joint space has dimensions.
_JOINT_NAMES = ("clip", "_mci", "pe_core")
_CLASSES = 1000
_MAX_PROJECTION = 2048


class TimmModels(ModelFamily):
    """The models of timm. Their weights come from a file, else timm fetches them from the Hugging Face hub."""

    auto_decoding: Decoding = "scaled"

    @property
    def pattern(self) -> str:
        """The pattern, as messages show it."""
        return f"{PREFIX}<name>"

    def matches(self, name: str) -> bool:
        """Return whether it is a name of this form; whether timm has such a model is known when it is built."""
        return re.fullmatch(rf"{PREFIX}[A-Za-z0-9_./:-]+", name) is not None

    def usual_weights(self, name: str) -> None:
        """Return None: timm fetches the weights, or has them in its cache."""
        del name

    def usual_weights_state(self, name: str) -> WeightsState:
        """Return whether the weights are in the cache of huggingface_hub, through which timm fetches them."""
        return "here" if _is_cached(name.removeprefix(PREFIX)) else "at the hub"

    def define(self, name: str, weights: Path | None, pooling: str) -> Definition:
        """Return what the model contributes to its embedding space; only the built network tells."""
        built = self.build(name, weights, pooling)
        digest = network_sha256(built.network) if weights is None else file_sha256(weights)
        return Definition(built.preprocessing, built.dim, built.pooling, digest)

    def build(self, name: str, weights: Path | None, pooling: str) -> BuiltNetwork:
        """Build the network and load its weights."""
        import torch
        from timm.data.config import resolve_model_data_config

        network = _create_network(name.removeprefix(PREFIX), weights)
        network.eval()
        preprocessing = timm_preprocessing(resolve_model_data_config(network))
        generator = torch.Generator().manual_seed(224)
        example = torch.randn(1, 3, *preprocessing.size, generator=generator)
        network, applied_pooling = _with_pooling(network, name, pooling, example)
        with torch.inference_mode():
            shape = network(example).shape
        if len(shape) != 2:
            raise ModelError(f"{name} gives outputs of shape {tuple(shape)}", expected="one vector for each image")
        return BuiltNetwork(network, preprocessing, int(shape[1]), applied_pooling)


TIMM = TimmModels()


@dataclass(frozen=True)
class ListedModel:
    """A model of timm that has weights.

    Attributes:
        name: without `timm:`.
        size: height and width of its input in pixels.
        dim: number of components of its own vectors; None where that was not looked up or is not known.
        joint: its vectors are in a space joint with texts.
    """

    name: str
    size: tuple[int, int]
    dim: int | None
    joint: bool


def list_timm_models(pattern: str, *, dims_of: int = 40) -> list[ListedModel]:
    """List the models of timm whose name matches a shell pattern, such as `vit_*clip*`, in timm's order.

    Args:
        pattern: matches the name with or without its tag.
        dims_of: dimensions are looked up if at most this many models match; each takes a few tenths of a second.
    """
    import timm
    from timm.models import get_pretrained_cfg

    names = timm.list_models(pattern, pretrained=True)
    listed = []
    for name in names:
        config = (get_pretrained_cfg(name) or timm.models.PretrainedCfg()).to_dict()
        _, height, width = config["input_size"]
        dim = _dim_without_weights(name, config) if len(names) <= dims_of else None
        listed.append(ListedModel(name, (height, width), dim, is_joint(config)))
    return listed


def timm_preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """Return what timm's `create_transform` does with a data configuration, such as `resolve_data_config` gives."""
    _, height, width = config["input_size"]
    mode, share = config.get("crop_mode") or "center", float(config["crop_pct"])
    squeezed = mode == "squash" and share == 1.0
    return Preprocessing(
        size=(height, width),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        crop=None if squeezed else share,
        interpolation=config["interpolation"] if config["interpolation"] in INTERPOLATIONS else "bicubic",
        crop_mode="center" if squeezed else mode,
    )


def has_projection(config: Mapping[str, Any]) -> bool:
    """Return whether a model's head projects into a space joint with texts, by its pretrained configuration."""
    name = f"{config.get('architecture') or ''}.{config.get('tag') or ''}"
    outputs = config.get("num_classes") or 0
    return any(part in name for part in _JOINT_NAMES) and 0 < outputs <= _MAX_PROJECTION and outputs != _CLASSES


def is_joint(config: Mapping[str, Any]) -> bool:
    """Return whether a model's own vectors are in a space joint with texts; SigLIP pools into it without a head."""
    architecture = str(config.get("architecture") or "")
    siglip = "_siglip_" in architecture and "_gap" not in architecture and not config["num_classes"]
    return has_projection(config) or siglip


def _dim_without_weights(name: str, config: Mapping[str, Any]) -> int | None:
    """Return the length of a model's own vectors without memory for its weights; None where the model doesn't tell."""
    import timm
    import torch

    if has_projection(config):
        return int(config["num_classes"])
    try:
        with torch.device("meta"):
            network: Any = timm.create_model(name, pretrained=False)
        return int(network.head_hidden_size)
    except Exception:  # some models can't be built without memory, each for a reason of its own
        return None


def _is_cached(name: str) -> bool:
    for prefix in ("hf_hub:", "hf-hub:"):
        if name.startswith(prefix):
            return is_in_hub_cache(name.removeprefix(prefix))
    # A name without a tag stands for one of several.
    return is_in_hub_cache(f"timm/{name if '.' in name else f'{name}.*'}")


def _create_network(name: str, weights: Path | None) -> Any:
    """Create timm's network of this name, without `timm:`, and load its weights."""
    import timm

    if not timm.is_model(name.split(".")[0].removeprefix("hf_hub:").removeprefix("hf-hub:")) and "/" not in name:
        raise ModelError(f"timm has no model {name!r}", remedy="`imgret models --timm '*PART*'` lists those it has")
    try:
        network: Any = timm.create_model(name, pretrained=weights is None)
    except Exception as error:  # timm, huggingface_hub and requests each raise their own when there is no network
        raise ModelError(
            f"The weights of {PREFIX}{name} can't be fetched ({type(error).__name__}: {first_line(error)})",
            remedy="give a file with IMGRET_WEIGHTS or --weights, or fetch them once where there is a network",
        ) from error
    if weights is not None:
        load_state(network, read_state(weights), weights)
    return network


def _with_pooling(network: Any, model: str, pooling: str, example: "torch.Tensor") -> "tuple[torch.nn.Module, str]":
    """Return the network with this pooling, and the pooling's name: `auto` where it is the network's own."""
    import torch

    config = dict(network.pretrained_cfg)
    with torch.inference_mode():
        layout = _layout(network, network.forward_features(example))
    allowed = ["auto", *(["avg", "gem"] if layout else []), *(["head"] if is_joint(config) else [])]
    if pooling == "head" and "head" not in allowed:
        raise no_projection_error(model, " or ".join(allowed))
    if pooling not in allowed:
        raise ModelError(
            f"{model} ends in no feature map or patch tokens that could be pooled by {pooling!r}",
            expected=" or ".join(allowed),
            remedy="set IMGRET_POOLING=auto",
        )
    if not has_projection(config):
        network.reset_classifier(0)
    if pooling in ("auto", "head"):
        return network, "auto"
    pooled = pooled_network(network, pooling, layout)
    with torch.inference_mode():
        automatic, chosen = network(example), pooled(example)
    # The same vectors under another name are not another space.
    same = automatic.shape == chosen.shape and torch.allclose(
        automatic, chosen, rtol=1e-4, atol=1e-5 * float(automatic.abs().max())
    )
    return (network, "auto") if same else (pooled, pooling)


def _layout(network: Any, features: Any) -> str:
    """Return the layout of a network's last features, as `pooled_network` takes it; empty where it is not known."""
    channels = getattr(network, "num_features", None)
    if not hasattr(features, "shape"):
        return ""
    shape = tuple(features.shape)
    if len(shape) == 4:
        layout = "NHWC" if "NHWC" in str(getattr(network, "output_fmt", "")) else "NCHW"
        return layout if shape[layout.index("C")] == channels else ""
    patches = getattr(getattr(network, "patch_embed", None), "num_patches", None)
    prefix_tokens = getattr(network, "num_prefix_tokens", None)
    if len(shape) == 3 and prefix_tokens is not None and shape[1:] == (prefix_tokens + (patches or 0), channels):
        return f"tokens:{prefix_tokens}"
    return ""
