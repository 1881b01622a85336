"""The conversion of a decoded image of any mode to RGB with 8 bits per channel, in sRGB.

Belongs here: depth, modes, the order of profile and ground. Not here: decoding (`domain.images.decode`), what a profile
does (`domain.images.colour_profiles`), the ground of a transparent image (`domain.images.transparency`).
"""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from imgret_assets.domain.images.colour_profiles import convert_to_srgb, profile_effect
from imgret_assets.domain.images.transparency import bands, lay_on_ground


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to RGB, 8 bits per channel, in sRGB, transparent parts on a ground that contrasts."""
    profile = image.info.get("icc_profile")
    if image.mode == "RGB" and "transparency" not in image.info:
        return convert_to_srgb(image, profile)
    if image.mode.startswith("I") or image.mode == "F":
        return convert_to_srgb(_deep_to_grey(image), profile).convert("RGB")
    if is_transparent(image):
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        if profile_effect(profile, image.mode).transform is not None:
            opaque = image.convert("L" if image.mode in ("LA", "La", "L") else "RGB")
            coloured = convert_to_srgb(opaque, profile).convert("RGB")
            coloured.putalpha(rgba.getchannel("A"))
            rgba = coloured
        return lay_on_ground(rgba)
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if image.mode in ("L", "CMYK"):
        return convert_to_srgb(image, profile).convert("RGB")
    return convert_to_srgb(image.convert("L" if image.mode == "1" else "RGB"), profile).convert("RGB")


def is_transparent(image: Image.Image) -> bool:
    """Return whether an image can have transparent parts."""
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or (
        "transparency" in image.info and image.mode in ("1", "L", "P", "RGB")
    )


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(image, _lab_transform())
    return image.convert("RGB") if converted is None else converted


@lru_cache(maxsize=1)
def _lab_transform() -> ImageCms.ImageCmsTransform:
    lab, srgb = (ImageCms.ImageCmsProfile(ImageCms.createProfile(name)) for name in ("LAB", "sRGB"))
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")


def _deep_to_grey(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips 16-bit values at 255, which turns most such images white.
    top = max((float(_finite_values(image, box).max(initial=0.0)) for box in bands(image.size)), default=0.0)
    if image.mode == "F":
        scale = 255.0 if top <= 1.0 else 255.0 / top
    else:
        scale = 1.0 if top <= 255 and image.mode == "I" else 255.0 / max(65535.0, top)
    grey = Image.new("L", image.size)
    for box in bands(image.size):
        levels = np.clip(np.rint(_finite_values(image, box) * scale), 0, 255).astype(np.uint8)
        grey.paste(Image.fromarray(levels), box)
    return grey


def _finite_values(image: Image.Image, box: tuple[int, int, int, int]) -> np.ndarray:
    values = np.asarray(image.crop(box), dtype=np.float64)
    return np.where(np.isfinite(values), values, 0.0)
