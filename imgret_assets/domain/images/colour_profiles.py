"""Colour profiles: the colours of a decoded image in sRGB, as a person sees them.

Belongs here: reading an ICC profile, whether it changes colours, converting pixels by littleCMS. Not here: taking the
profile out of a file (`domain.images.decode`).

A profile that means sRGB changes nothing: images with it, which are most, keep their pixels. A profile that can't be
read or is of another kind of colours than the image is ignored, and the image's row says so.
"""

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

# Largest difference of a value between an image and its conversion by a profile that still counts as sRGB.
_SRGB_TOLERANCE = 3
# Values of each channel on which a profile is compared with sRGB.
_PROBE_LEVELS = 9
_SPACE_OF_MODE = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}


@dataclass(frozen=True)
class ProfileEffect:
    """What a profile does to images of one mode.

    Attributes:
        transform: converts an image of the mode to RGB in sRGB; None where the profile changes nothing or is ignored.
        note: why the profile is ignored; None where it is not.
    """

    transform: ImageCms.ImageCmsTransform | None = None
    note: str | None = None


def profile_effect(profile: object, mode: str) -> ProfileEffect:
    """Return what a profile does to images of a mode.

    Args:
        profile: the bytes of an ICC profile, as Pillow found them; anything else is no profile.
        mode: mode of the image; its transparency does not matter.
    """
    return _effect(profile, _opaque_mode(mode)) if isinstance(profile, bytes) and profile else ProfileEffect()


def convert_to_srgb(image: Image.Image, profile: object) -> Image.Image:
    """Convert an opaque image of mode RGB, L or CMYK by its profile to RGB; return it unchanged if that does nothing.

    Args:
        image: the image.
        profile: the bytes of its ICC profile, or None.
    """
    effect = profile_effect(profile, image.mode)
    if effect.transform is None:
        return image
    converted = ImageCms.applyTransform(image, effect.transform)
    return image if converted is None else converted


def _opaque_mode(mode: str) -> str:
    if mode in ("1", "L", "LA", "La") or mode.startswith(("I", "F")):
        return "L"
    return "CMYK" if mode == "CMYK" else "LAB" if mode == "LAB" else "RGB"


@lru_cache(maxsize=64)
def _effect(profile: bytes, mode: str) -> ProfileEffect:
    space = _SPACE_OF_MODE.get(mode)
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        found = str(getattr(opened.profile, "xcolor_space", "")).strip()
        if found != space:
            return ProfileEffect(note=f"its colour profile is ignored: it is of {found} colours, the image of {mode}")
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        transform = ImageCms.buildTransform(opened, srgb, mode, "RGB")
        if mode != "CMYK" and _is_srgb(transform, mode):
            return ProfileEffect()
    except Exception as error:  # noqa: BLE001, RUF100 - littleCMS answers hostile profiles with many errors
        return ProfileEffect(note=f"its colour profile can't be read and is ignored ({error})")
    return ProfileEffect(transform)


def _is_srgb(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    levels = np.linspace(0, 255, _PROBE_LEVELS).round().astype(np.uint8)
    if mode == "L":
        probe = Image.fromarray(np.arange(256, dtype=np.uint8)[np.newaxis])
    else:
        grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
        probe = Image.fromarray(grid.reshape(1, -1, 3))
    converted = ImageCms.applyTransform(probe, transform)
    assert converted is not None  # noqa: S101 - it is only None where the image itself is changed
    difference = np.asarray(converted).astype(int) - np.asarray(probe.convert("RGB"))
    return bool(np.abs(difference).max() <= _SRGB_TOLERANCE)
