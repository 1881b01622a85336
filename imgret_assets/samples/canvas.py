"""A small vector canvas for the drawn sample images: curves, gradients, soft shapes.

Belongs here: geometry and paint, independent of what is drawn. Not here: the products (`cars`, `goods`, `household`,
`outdoors`), backgrounds (`scenes`), composition (`camera`).

Coordinates are units on a canvas of 400 x 300, y downwards; angles are degrees, clockwise from the right.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

WIDTH, HEIGHT = 400, 300

Colour = tuple[int, int, int]
Point = tuple[float, float]
Corner = tuple[float, float, float]

BLACK: Colour = (14, 15, 18)
WHITE: Colour = (255, 255, 255)
CHROME: Colour = (196, 202, 208)


@dataclass(frozen=True)
class Gradient:
    """Colours along an axis of the painted shape's bounding box.

    Attributes:
        stops: (position in [0, 1], colour), by ascending position.
        axis: `v` from top to bottom, `h` from left to right, `r` from the centre outwards.
    """

    stops: tuple[tuple[float, Colour], ...]
    axis: str = "v"

    def image(self, size: tuple[int, int]) -> Image.Image:
        """Return the gradient as an RGB image of (width, height) pixels."""
        if self.axis == "r":
            ramp = np.linspace(-1, 1, 128)
            grid = np.minimum(1.0, np.hypot(ramp[:, None], ramp[None, :]))
            return Image.fromarray(self._colours(grid)).resize(size, Image.Resampling.BICUBIC)
        steps = np.linspace(0, 1, size[1] if self.axis == "v" else size[0])
        line = self._colours(steps)
        strip = line[:, None] if self.axis == "v" else line[None, :]
        return Image.fromarray(np.ascontiguousarray(strip)).resize(size, Image.Resampling.NEAREST)

    def _colours(self, positions: np.ndarray) -> np.ndarray:
        at = [position for position, _ in self.stops]
        channels = [np.interp(positions, at, [colour[i] for _, colour in self.stops]) for i in range(3)]
        return np.stack(channels, axis=-1).astype(np.uint8)


Paint = Colour | Gradient


def shade(colour: Colour, amount: float) -> Colour:
    """Return a colour mixed with black (negative `amount`) or white (positive `amount`); `amount` is in [-1, 1]."""
    target = 255 if amount > 0 else 0
    red, green, blue = (round(c + (target - c) * abs(amount)) for c in colour)
    return red, green, blue


def down(colour: Colour, top: float = 0.25, bottom: float = -0.3) -> Gradient:
    """Return a vertical gradient around a colour."""
    return Gradient(((0, shade(colour, top)), (0.5, colour), (1, shade(colour, bottom))))


def cylinder(colour: Colour, gloss: float = 1.0) -> Gradient:
    """Return a horizontal gradient that makes a shape look like a cylinder lit from the upper left."""
    amounts = ((0, -0.42), (0.1, -0.12), (0.28, 0.42), (0.42, 0.06), (0.72, -0.16), (0.92, -0.46), (1, -0.3))
    return Gradient(tuple((at, shade(colour, amount * gloss)) for at, amount in amounts), "h")


def ball(colour: Colour, top: float = 0.45, rim: float = -0.4) -> Gradient:
    """Return a radial gradient from a bright centre to a dark rim."""
    return Gradient(((0, shade(colour, top)), (0.6, colour), (1, shade(colour, rim))), "r")


def rounded(corners: Iterable[Corner]) -> list[Point]:
    """Return a closed polygon with rounded corners (x, y, radius); a radius is limited to half an edge."""
    points = list(corners)
    outline: list[Point] = []
    for i, (x, y, radius) in enumerate(points):
        ends = []
        for ox, oy, _ in (points[i - 1], points[(i + 1) % len(points)]):
            length = math.hypot(ox - x, oy - y) or 1.0
            part = min(radius, length / 2) / length
            ends.append((x + (ox - x) * part, y + (oy - y) * part))
        (ax, ay), (bx, by) = ends
        for t in np.linspace(0, 1, 9):
            a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
            outline.append((a * ax + b * x + c * bx, a * ay + b * y + c * by))
    return outline


def box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> list[Point]:
    """Return a rectangle with rounded corners."""
    return rounded([(x0, y0, radius), (x1, y0, radius), (x1, y1, radius), (x0, y1, radius)])


def ellipse(cx: float, cy: float, rx: float, ry: float, start: float = 0, end: float = 360) -> list[Point]:
    """Return an ellipse, or its arc between two angles."""
    angles = np.radians(np.linspace(start, end, max(8, int(abs(end - start) / 4))))
    return [(cx + rx * math.cos(a), cy + ry * math.sin(a)) for a in angles]


def spline(points: Sequence[Point], *, closed: bool = True) -> list[Point]:
    """Return a smooth curve through the points (Catmull-Rom)."""
    n = len(points)
    at = np.asarray(points, float)
    steps = np.linspace(0, 1, 12, endpoint=False)[:, None]
    outline: list[Point] = []
    for i in range(n if closed else n - 1):
        index = [(i + k) % n if closed else min(max(i + k, 0), n - 1) for k in (-1, 0, 1, 2)]
        p0, p1, p2, p3 = at[index]
        part = 0.5 * (
            2 * p1
            + (p2 - p0) * steps
            + (2 * p0 - 5 * p1 + 4 * p2 - p3) * steps**2
            + (3 * p1 - p0 - 3 * p2 + p3) * steps**3
        )
        outline.extend((float(x), float(y)) for x, y in part)
    return outline if closed else [*outline, (float(at[-1][0]), float(at[-1][1]))]


def turned(points: Iterable[Point], angle: float, about: Point) -> list[Point]:
    """Return the points rotated by an angle in degrees about a point."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    cx, cy = about
    return [(cx + (x - cx) * cos - (y - cy) * sin, cy + (x - cx) * sin + (y - cy) * cos) for x, y in points]


def scaled(points: Iterable[Point], kx: float, ky: float, about: Point) -> list[Point]:
    """Return the points stretched about a point."""
    cx, cy = about
    return [(cx + (x - cx) * kx, cy + (y - cy) * ky) for x, y in points]


class Canvas:
    """An RGBA image of 400 x 300 units, transparent at first, painted shape by shape.

    Shapes have hard edges; the user of the image smooths them by reducing its size.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.image = Image.new("RGBA", (round(WIDTH * scale), round(HEIGHT * scale)))

    def mask(self, points: Sequence[Point]) -> Image.Image:
        """Return the shape as a clip for other shapes: mode L, in the size of the canvas."""
        mask = Image.new("L", self.image.size)
        ImageDraw.Draw(mask).polygon([(x * self.scale, y * self.scale) for x, y in points], fill=255)
        return mask

    def fill(
        self,
        points: Sequence[Point],
        paint: Paint,
        *,
        alpha: float = 1.0,
        blur: float = 0.0,
        clip: Image.Image | None = None,
    ) -> None:
        """Paint the inside of a polygon.

        Args:
            points: the outline.
            paint: a colour or a gradient over the shape's bounding box.
            alpha: opacity in [0, 1].
            blur: blur radius of the edge, in units.
            clip: result of `mask`; nothing is painted outside of it.
        """
        at = [(x * self.scale, y * self.scale) for x, y in points]
        self._paint(at, paint, (alpha, blur * self.scale, clip), None)

    def line(
        self,
        points: Sequence[Point],
        paint: Paint,
        width: float,
        *,
        alpha: float = 1.0,
        blur: float = 0.0,
        clip: Image.Image | None = None,
    ) -> None:
        """Draw a line along the points with round ends; `width` in units, other arguments as in `fill`."""
        at = [(x * self.scale, y * self.scale) for x, y in points]
        self._paint(at, paint, (alpha, blur * self.scale, clip), max(1, round(width * self.scale)))

    def disc(self, cx: float, cy: float, r: float, paint: Paint, *, alpha: float = 1.0, blur: float = 0.0) -> None:
        """Paint a filled circle."""
        self.fill(ellipse(cx, cy, r, r), paint, alpha=alpha, blur=blur)

    def _paint(
        self,
        at: Sequence[Point],
        paint: Paint,
        finish: tuple[float, float, Image.Image | None],
        width: int | None,
    ) -> None:
        alpha, blur, clip = finish
        pad = 2 * blur + (width or 0) / 2 + 1
        x0 = max(0, math.floor(min(x for x, _ in at) - pad))
        y0 = max(0, math.floor(min(y for _, y in at) - pad))
        x1 = min(self.image.width, math.ceil(max(x for x, _ in at) + pad) + 1)
        y1 = min(self.image.height, math.ceil(max(y for _, y in at) + pad) + 1)
        if x1 <= x0 or y1 <= y0:
            return
        mask = Image.new("L", (x1 - x0, y1 - y0))
        _draw(mask, [(x - x0, y - y0) for x, y in at], width)
        if blur:
            mask = soften(mask, blur)
        if clip is not None:
            mask = ImageChops.multiply(mask, clip.crop((x0, y0, x1, y1)))
        if alpha < 1:
            mask = mask.point([round(value * alpha) for value in range(256)])
        layer = paint.image(mask.size) if isinstance(paint, Gradient) else Image.new("RGB", mask.size, paint)
        layer.putalpha(mask)
        self.image.alpha_composite(layer, (x0, y0))


def soften(mask: Image.Image, radius: float) -> Image.Image:
    """Return the mask blurred by a radius in pixels; wide blurs use a smaller mask, without a visible difference."""
    step = min(8, int(radius // 4) or 1)
    if step == 1:
        return mask.filter(ImageFilter.GaussianBlur(radius))
    small = mask.reduce(step).filter(ImageFilter.GaussianBlur(radius / step))
    return small.resize(mask.size, Image.Resampling.BILINEAR)


def _draw(mask: Image.Image, at: Sequence[Point], width: int | None) -> None:
    draw = ImageDraw.Draw(mask)
    if width is None:
        draw.polygon(at, fill=255)
        return
    draw.line(at, fill=255, width=width, joint="curve")
    if width > 2:
        for x, y in (at[0], at[-1]):
            draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
