"""Weights files: their hash, the tensors in them, and loading those into a network.

Belongs here: what is the same for the weights of every model, also the Hugging Face hub's cache. Not here: where the
weights of a model are (`domain.models.families`).
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret_assets.errors import ModelError, first_line

if TYPE_CHECKING:
    import torch


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def network_sha256(network: "torch.nn.Module") -> str:
    """Return the SHA-256 of the names and bytes of a network's weights, in hex, for weights that have no file."""
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def is_in_hub_cache(repository: str, file: str = "*") -> bool:
    """Return whether a file of a repository at the Hugging Face hub is in the hub's cache on this machine.

    Not asked of huggingface_hub, whose import takes longer than the answer.

    Args:
        repository: its name, `owner/name`; `*` stands for any characters.
        file: name of the file; `*` for any file.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or cache / "huggingface") / "hub")
    # A file is a link to its content, which may have been removed.
    return any(found.exists() for found in hub.glob(f"models--{repository.replace('/', '--')}/snapshots/*/{file}"))


def read_state(file: Path) -> dict[str, Any]:
    """Read the tensors in a weights file, by name. No code in the file is run.

    Raises:
        ModelError: the file holds no weights.
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
    """Load weights into a network by name, or by position where all shapes agree in order.

    By position, because other code has other names for the tensors of the same network.

    Args:
        network: the network; it is changed in place.
        state: tensors by name, as `read_state` gives them.
        file: the file they are from, for messages.

    Raises:
        ModelError: the weights belong to another network.
    """
    expected = network.state_dict()
    if expected.keys() != state.keys():
        tensors, slots = list(state.values()), list(expected.items())
        # Older files lack batch normalisation's counters, which inference doesn't use.
        counters = [key for key in expected if key.endswith("num_batches_tracked")]
        if len(tensors) == len(slots) - len(counters):
            slots = [(key, value) for key, value in slots if key not in counters]
        if len(tensors) != len(slots) or any(a.shape != b.shape for a, (_, b) in zip(tensors, slots, strict=True)):
            raise ModelError(
                f"The weights in {file} don't fit the network ({len(tensors)} tensors)",
                expected=f"{len(slots)} tensors with its shapes, such as {slots[0][0]} {tuple(slots[0][1].shape)}",
                remedy="give the file of this model, or name the model of this file",
            )
        state = {**expected, **{key: value for (key, _), value in zip(slots, tensors, strict=True)}}
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        raise ModelError(
            f"The weights in {file} don't fit the network ({' '.join(str(error).split())})",
            remedy="give the file of this model",
        ) from error
