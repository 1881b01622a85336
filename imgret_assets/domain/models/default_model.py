"""The choice of a home's model at set-up or first run: resnet50 if its weights are available, else EfficientNet-Lite0.

Belongs here: downloading the weights with time-outs, recording the choice in the home. Not here: the list of
models (`domain.models.registry`), which model is in force later (`domain.models.resolution`).
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from imgret_assets.domain.models.families.resnet50 import WEIGHTS_FILE, cached_weights
from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ModelError
from imgret_assets.settings import DEFAULT_MODEL, INSTALLED_MODEL, available_model

CONNECT_WITHIN_S = 10
READ_WITHIN_S = 30
FETCH_WITHIN_S = 900
_CHUNK_BYTES = 1 << 20


def choose(home: Home, log: Callable[[str], None], *, download: bool = True) -> str:
    """Return the model in force; choose it now if neither the settings nor the home's record name one.

    resnet50 is taken when its weights are on this machine or, if `download` is set, can be downloaded. Else the home
    records `efficientnet_lite0`, whose weights come with a Python package, so that later runs need no network.

    Args:
        home: the home.
        log: receives a line about what was downloaded or recorded.
        download: whether the weights of resnet50 may be downloaded (98 MB).
    """
    chosen = home.settings.model or home.record.model
    if chosen:
        return chosen
    if available_model(home.settings) == DEFAULT_MODEL:
        return DEFAULT_MODEL
    if not download:
        home.update(model=INSTALLED_MODEL)
        log(f"The model of {home.path} is {INSTALLED_MODEL}; --model or IMGRET_MODEL chooses another one.")
        return INSTALLED_MODEL
    try:
        log(f"Downloading the weights of {DEFAULT_MODEL} (98 MB) to {fetch_resnet50()}.")
    except ModelError as error:
        home.update(model=INSTALLED_MODEL)
        log(
            f"{error.found}. So the model of {home.path} is {INSTALLED_MODEL}; IMGRET_MODEL or --model chooses another."
        )
        return INSTALLED_MODEL
    return DEFAULT_MODEL


def fetch_resnet50(url: str | None = None, target: Path | None = None) -> Path:
    """Download the weights of resnet50 to torch's cache and return the file.

    torch's own download function has no time-out. This one waits at most 10 s for a connection, 30 s for the next byte
    and 15 minutes in all. The file's name carries the first eight digits of its SHA-256, which are checked.

    Args:
        url: where to download from; torchvision's address where None.
        target: the file to write; torch's cache where None.

    Raises:
        ModelError: the file can't be downloaded, or it is not the right one.
    """
    import requests

    target = target or cached_weights()
    digest = hashlib.sha256()
    deadline = time.monotonic() + FETCH_WITHIN_S
    try:
        if url is None:
            import torchvision

            url = str(torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url)
        with (
            requests.get(url, stream=True, timeout=(CONNECT_WITHIN_S, READ_WITHIN_S)) as response,
            atomic_files.replacing(target) as temporary,
            temporary.open("wb") as file,
        ):
            response.raise_for_status()
            for chunk in response.iter_content(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
                if time.monotonic() > deadline:
                    raise ModelError(f"The weights of resnet50 did not arrive within {FETCH_WITHIN_S} s")
            expected = WEIGHTS_FILE.removesuffix(".pth").rpartition("-")[2]
            if not digest.hexdigest().startswith(expected):
                raise ModelError(
                    f"The file downloaded as the weights of resnet50 has the hash {digest.hexdigest()[:8]}",
                    expected=f"the hash {expected}",
                )
    except (requests.RequestException, OSError) as error:
        raise ModelError(f"The weights of resnet50 can't be downloaded ({type(error).__name__})") from error
    return target
