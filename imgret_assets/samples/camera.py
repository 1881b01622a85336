"""Composition of a drawn product and a background, like a photo.

Belongs here: angle, shadows, reflections, light and grain. Not here: the products (`cars`, `goods`, `household`,
`outdoors`) and the backgrounds (`scenes`).
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageOps

from imgret_assets.samples.canvas import (
    HEIGHT,
    WHITE,
    WIDTH,
    Colour,
    Point,
    soften,
)

FRAME = (576, 432)


_UNIT = FRAME[0] / WIDTH


@dataclass(frozen=True)
class Backdrop:
    """A background in the size of FRAME, and how it lights the product in front of it."""

    image: Image.Image
    light: Colour = WHITE
    glossy: bool = False
    shadow: float = 0.5


@dataclass(frozen=True)
class Pose:
    """The position of the product in front of the camera.

    Attributes:
        mirror: True if the product faces the other way.
        tilt: rotation in the image plane, in degrees.
        squeeze: visible width; 1 is a view from straight ahead.
        keystone: fraction by which the right side is larger than the left.
        zoom: size; 1 is the drawn size.
        shift: offset to the right and down, in units.
    """

    mirror: bool = False
    tilt: float = 0.0
    squeeze: float = 1.0
    keystone: float = 0.0
    zoom: float = 1.0
    shift: Point = (0.0, 0.0)


def photograph(product: Image.Image, ground: float | None, backdrop: Backdrop, pose: Pose) -> Image.Image:
    """Place a product in front of a background.

    Args:
        product: RGBA image of 400 x 300 units at any scale; slightly larger than FRAME looks best.
        ground: y on which it stands, in units; None for a product that lies flat and is seen from above.
        backdrop: the background.
        pose: the position of the product.

    Returns:
        RGB image in the size of FRAME.
    """
    base = HEIGHT / 2 if ground is None else ground
    figure = _posed(product, base, pose)
    floor = round((base + pose.shift[1]) * _UNIT)
    if backdrop.light != WHITE:
        tinted = ImageChops.multiply(figure.convert("RGB"), Image.new("RGB", FRAME, backdrop.light))
        tinted.putalpha(figure.getchannel("A"))
        figure = tinted
    scene = backdrop.image.copy()
    _cast_shadow(scene, figure, None if ground is None else floor, backdrop.shadow)
    if ground is not None and backdrop.glossy:
        _reflect(scene, figure, floor)
    scene.paste(figure, (0, 0), figure)
    return scene


def develop(image: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Return the image in a size, cropped to its proportions, with slight vignetting and grain."""
    width, height = size
    fitted = np.asarray(ImageOps.fit(image, size, Image.Resampling.LANCZOS), np.float32)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    vignette = 1 - 0.05 * (x[None, :] ** 2 + y[:, None] ** 2)
    grain = rng.standard_normal((height, width), dtype=np.float32) * 1.8
    return Image.fromarray(np.clip(fitted * vignette[..., None] + grain[..., None], 0, 255).astype(np.uint8))


def _posed(product: Image.Image, base: float, pose: Pose) -> Image.Image:
    if pose.mirror:
        product = ImageOps.mirror(product)
    corners = []
    for x, y in ((0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT)):
        u, v = (x - WIDTH / 2) * pose.squeeze, y - base
        v *= 1 + pose.keystone * (x - WIDTH / 2) / WIDTH
        u, v = u * pose.zoom, v * pose.zoom
        cos, sin = math.cos(math.radians(pose.tilt)), math.sin(math.radians(pose.tilt))
        corners.append((WIDTH / 2 + u * cos - v * sin + pose.shift[0], base + u * sin + v * cos + pose.shift[1]))
    target = [(x * _UNIT, y * _UNIT) for x, y in corners]
    source = [(0, 0), (product.width, 0), product.size, (0, product.height)]
    return product.transform(FRAME, Image.Transform.PERSPECTIVE, _homography(target, source), Image.Resampling.BILINEAR)


def _homography(outputs: list[Point], inputs: list[tuple[int, int]]) -> list[float]:
    """Return the eight numbers of Pillow's PERSPECTIVE that map output point `outputs[i]` to `inputs[i]`."""
    rows, values = [], []
    for (x, y), (u, v) in zip(outputs, inputs, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows, float), np.array(values, float)).tolist()


def _cast_shadow(scene: Image.Image, figure: Image.Image, floor: int | None, strength: float) -> None:
    # Only opaque parts cast a shadow; the glow of a lamp does not.
    solid = figure.getchannel("A").point([0] * 150 + [255] * 106)
    ink = Image.new("RGB", FRAME, (10, 12, 18))
    if floor is None:
        dropped = ImageChops.offset(soften(solid, 9), 9, 12)
        scene.paste(ink, (0, 0), dropped.point([round(v * strength * 0.8) for v in range(256)]))
        return
    bounds = solid.getbbox()
    top = bounds[1] if bounds else 0
    for height, blur, weight in ((0.2, 12.0, 0.55), (0.06, 3.5, 0.9)):
        tall = max(4, round((floor - top) * height))
        flat = solid.crop((0, top, FRAME[0], min(floor, FRAME[1]))).resize((FRAME[0], tall), Image.Resampling.BOX)
        flat = flat.point([min(255, v * 3) for v in range(256)])
        mask = Image.new("L", FRAME)
        mask.paste(flat, (round(tall * 0.1), floor - round(tall * 0.72)))
        mask = soften(mask, blur)
        scene.paste(ink, (0, 0), mask.point([round(v * strength * weight) for v in range(256)]))


def _reflect(scene: Image.Image, figure: Image.Image, floor: int) -> None:
    depth = min(FRAME[1] - floor, floor, 90)
    if depth <= 0:
        return
    mirrored = ImageOps.flip(figure.crop((0, floor - depth, FRAME[0], floor)))
    fade = Image.fromarray(np.linspace(70, 0, depth).astype(np.uint8)[:, None]).resize((FRAME[0], depth))
    scene.paste(mirrored, (0, floor), ImageChops.multiply(mirrored.getchannel("A"), fade))
