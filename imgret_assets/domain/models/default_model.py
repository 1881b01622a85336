"""Choosing the default model once, at set-up: resnet50 if its weights can be had, else the one that comes along.

Belongs here: fetching the weights with time-outs, writing the choice to the settings' file. Not here: loading
models (`domain.models.registry`).
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from imgret_assets.domain.models.weights import RESNET50_WEIGHTS_FILE, resnet50_cache
from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home_record import read_record
from imgret_assets.errors import ModelError
from imgret_assets.settings import DEFAULT_MODEL, Settings, env_file

FALLBACK = "efficientnet_lite0"
CONNECT_WITHIN_S = 10
READ_WITHIN_S = 30
FETCH_WITHIN_S = 900
_CHUNK = 1 << 20


def choose(settings: Settings, tell: Callable[[str], None]) -> str:
    """The model in force, chosen now if nobody has chosen yet.

    resnet50 is taken when its weights are on this machine or can be downloaded; on any failure
    `IMGRET_MODEL=efficientnet_lite0` is written to the settings' file, so that nothing depends on the network
    afterwards.

    Args:
        settings: the settings.
        tell: told in a line what was found and done.
    """
    record = read_record(settings.home)
    chosen = settings.model or (record.model if record else None)
    if chosen:
        return chosen
    if settings.weights is not None or resnet50_cache().is_file():
        return DEFAULT_MODEL
    try:
        tell(f"Downloading the weights of {DEFAULT_MODEL} (98 MB) to {fetch_resnet50()}.")
    except ModelError as error:
        write_choice(env_file(), FALLBACK)
        tell(f"The model is {FALLBACK}, noted as IMGRET_MODEL in {env_file()}: {error.found}.")
        return FALLBACK
    return DEFAULT_MODEL


def fetch_resnet50(url: str | None = None, target: Path | None = None) -> Path:
    """Download the weights of resnet50 to torch's cache; the file.

    torch's own download function has no time-out, so this one has: 10 s to connect, 30 s without a byte, 15 minutes
    in all. The name carries the first eight digits of the file's SHA-256, which is checked before it is used.

    Raises:
        ModelError: the file can't be had or is not the right one.
    """
    import requests

    target = target or resnet50_cache()
    digest = hashlib.sha256()
    deadline = time.monotonic() + FETCH_WITHIN_S
    try:
        if url is None:
            import torchvision

            url = str(torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url)
        with (
            requests.get(url, stream=True, timeout=(CONNECT_WITHIN_S, READ_WITHIN_S)) as answer,
            atomic_files.replacing(target) as temporary,
            temporary.open("wb") as file,
        ):
            answer.raise_for_status()
            for chunk in answer.iter_content(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
                if time.monotonic() > deadline:
                    raise ModelError(f"The weights of resnet50 did not arrive within {FETCH_WITHIN_S} s")
            expected = RESNET50_WEIGHTS_FILE.removesuffix(".pth").rpartition("-")[2]
            if not digest.hexdigest().startswith(expected):
                raise ModelError(
                    f"What was downloaded as resnet50's weights has hash {digest.hexdigest()[:8]}, not {expected}"
                )
    except (requests.RequestException, OSError) as error:
        raise ModelError(f"The weights of resnet50 can't be downloaded ({type(error).__name__})") from error
    return target


def write_choice(file: Path, model: str) -> None:
    """Set IMGRET_MODEL in a settings' file; its other lines stay as they are."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    lines = [line for line in lines if not line.startswith("IMGRET_MODEL=")] + [f"IMGRET_MODEL={model}"]
    with atomic_files.replacing(file, mode=0o600) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
