"""Networks: building one by its name, loading its weights, choosing how its last features become a vector.

Belongs here: architectures, weight files, pooling, centring. Not here: where weights are and the spaces they define
(`domain.models.registry`), making a mean (`domain.embeddings.mean_centring`), running a network
(`domain.inference.embedder`). torch and timm are imported by the functions that need them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgret_assets.domain.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, INTERPOLATIONS, Preprocessing
from imgret_assets.errors import ModelError, first_line

if TYPE_CHECKING:
    import torch

# (x * 255 - 127) / 128 for x in 0..1, as the weights of efficientnet_lite0 were trained.
LITE0_MEAN = (127 / 255, 127 / 255, 127 / 255)
LITE0_STD = (128 / 255, 128 / 255, 128 / 255)
# Radenović, Tolias and Chum, "Fine-tuning CNN image retrieval with no human annotation", 2018: the mean of the cubes.
# What is below epsilon, and with it everything negative, counts as epsilon.
GEM_POWER = 3.0
GEM_EPSILON = 1e-6
# How timm's image towers of models like CLIP are called. Fine-tuned ones carry such a name, too, but 1,000 classes
# or more; a projection has as many outputs as the joint space has dimensions.
_JOINT_NAMES = ("clip", "_mci", "pe_core")
_CLASSES = 1000
_MAX_PROJECTION = 2048
# How much longer than 1 float32 may make the mean of vectors of length 1.
_LENGTH_SLACK = 1e-4


@dataclass(frozen=True)
class Fixed:
    """What is known of a model by its name alone."""

    preprocessing: Preprocessing
    dim: int


@dataclass(frozen=True)
class Built:
    """A network with its weights, in evaluation mode.

    Attributes:
        network: maps float32 (n, 3, h, w) to (n, dim).
        preprocessing: the model's own, decoding in full.
        dim: numbers in a vector.
        pooling: `auto` where the network's own is meant, whatever it was called.
    """

    network: "torch.nn.Module"
    preprocessing: Preprocessing
    dim: int
    pooling: str


FIXED = {
    "resnet50": Fixed(Preprocessing((224, 224), IMAGENET_MEAN, IMAGENET_STD), 2048),
    "efficientnet_lite0": Fixed(Preprocessing((224, 224), LITE0_MEAN, LITE0_STD), 1280),
}


def fixed_pooling(name: str, pooling: str) -> str:
    """The pooling of a model in `FIXED`, which averages: `auto` for that, whatever it was called.

    Raises:
        ModelError: it has no such pooling.
    """
    if pooling == "head":
        raise _no_projection(name, "auto, avg or gem")
    return "auto" if pooling == "avg" else pooling


def build(name: str, file: Path | None, pooling: str = "auto", mean: Path | None = None) -> Built:
    """Build a network and load its weights.

    Args:
        name: `resnet50`, `efficientnet_lite0` or `timm:<name>`.
        file: its weights; None for a timm model whose weights timm has or fetches.
        pooling: `auto` for the network's own, `avg` or `gem` over its last feature map, `head` for the projection
            into the space that a model like CLIP shares between pictures and texts.
        mean: a file with a mean, see `read_mean`: vectors are brought to length 1 and it is taken from them. None
            leaves them as they are.

    Raises:
        ModelError: the name is unknown, its weights or the mean can't be had or don't fit, or it has no such pooling.
    """
    builders: dict[str, Callable[[Path, str], Any]] = {"resnet50": _resnet50, "efficientnet_lite0": _lite0}
    if name in builders and file is not None:
        pooling = fixed_pooling(name, pooling)
        fixed = FIXED[name]
        built = Built(builders[name](file, pooling), fixed.preprocessing, fixed.dim, pooling)
    else:
        built = _timm(name, file, pooling)
    if mean is not None:
        built = replace(built, network=_centred(built.network, read_mean(mean, built.dim)))
    built.network.eval().requires_grad_(False)
    return built


def projects(config: Mapping[str, Any]) -> bool:
    """True where the head of a timm model, by its pretrained configuration, projects into a space joint with texts."""
    name = f"{config.get('architecture') or ''}.{config.get('tag') or ''}"
    outputs = config.get("num_classes") or 0
    return any(part in name for part in _JOINT_NAMES) and 0 < outputs <= _MAX_PROJECTION and outputs != _CLASSES


def is_joint(config: Mapping[str, Any]) -> bool:
    """True where a timm model's own vectors are in a space joint with texts; SigLIP pools into it without a head."""
    architecture = str(config.get("architecture") or "")
    return projects(config) or ("_siglip_" in architecture and "_gap" not in architecture and not config["num_classes"])


def timm_preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """What timm's `create_transform` does with a data configuration, such as `resolve_data_config` gives."""
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


@dataclass(frozen=True)
class TimmModel:
    """A model of timm with weights to be had: its name, input (height, width), and numbers in a vector if asked."""

    name: str
    size: tuple[int, int]
    dim: int | None
    joint: bool


def timm_models(pattern: str, *, dims_of: int = 40) -> list[TimmModel]:
    """The models of timm whose name matches a shell pattern, such as `vit_*clip*`, in timm's order.

    Args:
        pattern: matches the name with or without its tag.
        dims_of: how many may match for their dimensions to be found out, which takes a few tenths of a second each.
    """
    import timm
    from timm.models import get_pretrained_cfg

    names = timm.list_models(pattern, pretrained=True)
    found = []
    for name in names:
        config = (get_pretrained_cfg(name) or timm.models.PretrainedCfg()).to_dict()
        _, height, width = config["input_size"]
        dim = _timm_dim(name, config) if len(names) <= dims_of else None
        found.append(TimmModel(name, (height, width), dim, is_joint(config)))
    return found


def _timm_dim(name: str, config: Mapping[str, Any]) -> int | None:
    """The length of a timm model's own vectors, without memory for its weights; None where it doesn't say."""
    import timm
    import torch

    if projects(config):
        return int(config["num_classes"])
    try:
        with torch.device("meta"):
            network: Any = timm.create_model(name, pretrained=False)
        return int(network.head_hidden_size)
    except Exception:  # some models can't be built without memory, each for a reason of its own
        return None


def _resnet50(file: Path, pooling: str) -> "torch.nn.Module":
    import torch
    import torchvision

    network = torchvision.models.resnet50(weights=None)
    load_state(network, read_state(file), file)
    *layers, average, _ = network.children()
    if pooling == "gem":
        return _pooled(torch.nn.Sequential(*layers), "gem", "NCHW")
    # The article's model: all layers but the last; flatten keeps the batch axis where squeeze would eat it.
    return torch.nn.Sequential(*layers, average, torch.nn.Flatten(1))


def _lite0(file: Path, pooling: str) -> "torch.nn.Module":
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    load_state(network, read_state(file), file)
    if pooling == "gem":
        return _pooled(network, "gem", "NCHW")
    network.reset_classifier(0)  # type: ignore[operator]
    return network


def _timm(model: str, file: Path | None, pooling: str) -> Built:
    import timm
    import torch
    from timm.data.config import resolve_model_data_config

    name = model.removeprefix("timm:")
    if not timm.is_model(name.split(".")[0].removeprefix("hf_hub:").removeprefix("hf-hub:")) and "/" not in name:
        raise ModelError(f"timm has no model {name!r}", remedy="`imgret models --timm '*PART*'` lists those it has")
    try:
        network: Any = timm.create_model(name, pretrained=file is None)
    except Exception as error:  # timm, huggingface_hub and requests each raise their own when there is no network
        raise ModelError(
            f"The weights of timm:{name} can't be had ({type(error).__name__}: {first_line(error)})",
            remedy="give a file with IMGRET_WEIGHTS or --weights, or fetch them once where there is a network",
        ) from error
    if file is not None:
        load_state(network, read_state(file), file)
    network.eval()
    preprocessing = timm_preprocessing(resolve_model_data_config(network))
    generator = torch.Generator().manual_seed(224)
    example = torch.randn(1, 3, *preprocessing.size, generator=generator)
    network, own = _with_pooling(network, model, pooling, example)
    with torch.inference_mode():
        shape = network(example).shape
    if len(shape) != 2:
        raise ModelError(f"timm:{name} gives outputs of shape {tuple(shape)}", expected="one vector for each picture")
    return Built(network, preprocessing, int(shape[1]), own)


def _with_pooling(network: Any, model: str, pooling: str, example: "torch.Tensor") -> "tuple[torch.nn.Module, str]":
    """A timm network that gives vectors of this pooling, and the pooling: `auto` where that is the network's own."""
    import torch

    config = dict(network.pretrained_cfg)
    with torch.inference_mode():
        layout = _layout(network, network.forward_features(example))
    allowed = ["auto", *(["avg", "gem"] if layout else []), *(["head"] if is_joint(config) else [])]
    if pooling == "head" and "head" not in allowed:
        raise _no_projection(model, " or ".join(allowed))
    if pooling not in allowed:
        raise ModelError(
            f"{model} ends in no feature map or patch tokens that could be pooled by {pooling!r}",
            expected=" or ".join(allowed),
            remedy="set IMGRET_POOLING=auto",
        )
    if not projects(config):
        network.reset_classifier(0)
    if pooling in ("auto", "head"):
        return network, "auto"
    pooled = _pooled(network, pooling, layout)
    with torch.inference_mode():
        own, other = network(example), pooled(example)
    # The same vectors by another name are no other space.
    same = own.shape == other.shape and torch.allclose(own, other, rtol=1e-4, atol=1e-5 * float(own.abs().max()))
    return (network, "auto") if same else (pooled, pooling)


def _no_projection(model: str, allowed: str) -> ModelError:
    return ModelError(
        f"{model} has no head that projects into a space joint with texts",
        expected=f"as pooling {allowed}",
        remedy="set IMGRET_POOLING=auto, or use a model like timm:vit_base_patch32_clip_224.openai",
    )


def _layout(network: Any, features: Any) -> str:
    """How features lie: `NCHW`, `NHWC`, `tokens:<how many come before the patches'>`, or nothing that is known."""
    channels = getattr(network, "num_features", None)
    if not hasattr(features, "shape"):
        return ""
    shape = tuple(features.shape)
    if len(shape) == 4:
        layout = "NHWC" if "NHWC" in str(getattr(network, "output_fmt", "")) else "NCHW"
        return layout if shape[layout.index("C")] == channels else ""
    patches = getattr(getattr(network, "patch_embed", None), "num_patches", None)
    before = getattr(network, "num_prefix_tokens", None)
    if len(shape) == 3 and before is not None and shape[1:] == (before + (patches or 0), channels):
        return f"tokens:{before}"
    return ""


def _pooled(network: Any, pooling: str, layout: str) -> "torch.nn.Module":
    """The network's last features float32 (n, channels, …) as (n, channels), averaged over all places or by GeM."""
    import torch

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.features = getattr(network, "forward_features", network)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            found = self.features(inputs)
            if layout == "NCHW":
                found = found.flatten(2)
            elif layout == "NHWC":
                found = found.flatten(1, 2).transpose(1, 2)
            else:
                found = found[:, int(layout.removeprefix("tokens:")) :].transpose(1, 2)
            if pooling == "avg":
                return found.mean(-1)
            return found.clamp(min=GEM_EPSILON).pow(GEM_POWER).mean(-1).pow(1 / GEM_POWER)

    return Pooled()


def _centred(network: "torch.nn.Module", mean: np.ndarray) -> "torch.nn.Module":
    """The network's vectors x as x / |x| - mean."""
    import torch

    class Centred(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("mean", torch.from_numpy(mean))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            # In float32 whatever the network computes in. A zero vector becomes NaN, which is refused as a zero one
            # is: with a least length to divide by, it would pass as a picture like no other.
            found = self.network(inputs).float()
            return found / torch.linalg.vector_norm(found, dim=1, keepdim=True) - self.mean

    return Centred()


def read_mean(file: Path, dim: int | None = None) -> np.ndarray:
    """The mean of a collection's vectors of length 1, float32 (dim,), no longer than 1 itself.

    Taking it from vectors of length 1 is the centring of Suzuki and others, "Centering similarity measures to reduce
    hubs", 2013: the mean cosine of any image with all others becomes about 0.

    Args:
        file: a `.npy` file, as `imgret models centre` writes it.
        dim: how many numbers it must have; any where None.

    Raises:
        ModelError: there is no such file, or it holds something else.
    """
    try:
        mean = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        said = "does not exist" if isinstance(error, FileNotFoundError) else f"can't be read ({first_line(error)})"
        raise ModelError(
            f"The mean {file} {said}",
            expected="a .npy file, as `imgret models centre` writes it",
            remedy="set IMGRET_CENTRE to such a file, or to none",
        ) from error
    if not isinstance(mean, np.ndarray):
        found = "several arrays"
    elif mean.dtype != np.float32 or mean.ndim != 1 or dim not in (None, len(mean)):
        found = f"{mean.dtype} of shape {mean.shape}"
    elif not np.isfinite(mean).all():
        found = "numbers that are not finite"
    elif (length := float(np.linalg.norm(mean.astype(np.float64)))) > 1 + _LENGTH_SLACK:
        found = f"a vector of length {length:.4g}"
    else:
        return mean
    raise ModelError(
        f"The mean {file} holds {found}",
        expected=f"float32 of shape ({'dim' if dim is None else dim},), the mean of vectors of length 1",
        remedy="make one of this model's vectors by `imgret models centre`, or set IMGRET_CENTRE=none",
    )


def read_state(file: Path) -> dict[str, Any]:
    """The tensors in a weights file, by name; no code in it is run.

    Raises:
        ModelError: it holds something else.
    """
    import torch

    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a wrong file meets unpickling, zip and tensor errors of every kind
        raise ModelError(
            f"{file} is not a weights file ({type(error).__name__}: {first_line(error)})",
            expected="a state dict saved by torch.save, or a .safetensors file",
        ) from error
    for wrapper in ("state_dict", "model"):
        state = state[wrapper] if isinstance(state, dict) and isinstance(state.get(wrapper), dict) else state
    if not isinstance(state, dict):
        raise ModelError(f"{file} holds a {type(state).__name__}", expected="a state dict: names and tensors")
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_state(network: "torch.nn.Module", state: Mapping[str, "torch.Tensor"], file: Path) -> None:
    """Load weights by name, or by position where all shapes agree in order: other code's names for one network.

    Raises:
        ModelError: they are of another network.
    """
    own = network.state_dict()
    if own.keys() != state.keys():
        theirs, ours = list(state.values()), list(own.items())
        counters = [key for key in own if key.endswith("num_batches_tracked")]
        if len(theirs) == len(ours) - len(counters):
            ours = [(key, value) for key, value in ours if key not in counters]
        if len(theirs) != len(ours) or any(a.shape != b.shape for a, (_, b) in zip(theirs, ours, strict=True)):
            raise ModelError(
                f"The weights in {file} don't fit the network ({len(theirs)} tensors)",
                expected=f"{len(ours)} tensors with its shapes, such as {ours[0][0]} {tuple(ours[0][1].shape)}",
                remedy="give the file of this model, or name the model of this file",
            )
        state = {**own, **{key: value for (key, _), value in zip(ours, theirs, strict=True)}}
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        raise ModelError(
            f"The weights in {file} don't fit the network ({' '.join(str(error).split())})",
            remedy="give the file of this model",
        ) from error
