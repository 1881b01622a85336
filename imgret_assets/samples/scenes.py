"""Backgrounds of drawn products: studios, streets, landscapes, rooms, table tops.

Belongs here: drawing them. Not here: the products (`cars`, `goods`, `household`, `outdoors`), placing a product in
front of a background (`camera`).
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from imgret_assets.samples.camera import FRAME, Backdrop
from imgret_assets.samples.canvas import (
    WHITE,
    Canvas,
    Colour,
    Gradient,
    ball,
    box,
    down,
    ellipse,
    shade,
    spline,
)


def _finished(canvas: Canvas) -> Image.Image:
    return canvas.image.convert("RGB").resize(FRAME, Image.Resampling.BILINEAR)


def studio(colour: Colour, rng: np.random.Generator) -> Backdrop:
    """Return rolled paper, lit from one side."""
    x = np.linspace(0, 1, FRAME[0], dtype=np.float32)[None, :]
    y = np.linspace(0, 1, FRAME[1], dtype=np.float32)[:, None]
    spot = np.exp(-(((x - rng.uniform(0.3, 0.7)) / 0.42) ** 2) - ((y - 0.36) / 0.4) ** 2)
    bend = 1 / (1 + np.exp(-(y - rng.uniform(0.62, 0.72)) * 22))
    light = 0.7 + 0.36 * spot + bend * (0.2 - 0.22 * np.abs(x - 0.5) - 0.25 * (y - 0.7))
    pixels = np.asarray(colour, np.float32)[None, None] * light[..., None]
    return Backdrop(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), glossy=True, shadow=0.45)


def plain(colour: Colour, rng: np.random.Generator) -> Backdrop:
    """Return a background of one colour, as in a mail-order catalogue."""
    del rng
    return Backdrop(Image.new("RGB", FRAME, colour), shadow=0.34)


def _sky(canvas: Canvas, top: Colour, low: Colour, horizon: float, clouds: int, rng: np.random.Generator) -> None:
    canvas.fill(box(-2, -2, 402, horizon + 2), Gradient(((0, top), (1, low))))
    for _ in range(clouds):
        x, y, size = rng.uniform(10, 390), rng.uniform(14, horizon * 0.5), rng.uniform(10, 20)
        for i in range(5):
            canvas.fill(
                ellipse(
                    x + (i - 2) * size * 0.8, y - (2 - abs(i - 2)) * size * 0.26, size, size * (0.62 - 0.1 * abs(i - 2))
                ),
                WHITE,
                alpha=0.92,
                blur=3.5,
            )


def _trees(canvas: Canvas, base: float, count: int, rng: np.random.Generator) -> None:
    for x in np.sort(rng.uniform(-10, 410, count)):
        size = rng.uniform(16, 30)
        green: Colour = (int(rng.integers(40, 84)), int(rng.integers(96, 132)), int(rng.integers(46, 70)))
        canvas.fill(box(x - 2.5, base - size, x + 2.5, base + 3), (92, 70, 52))
        for dx, dy, part in ((0, -1.9, 1.0), (-0.6, -1.4, 0.75), (0.6, -1.4, 0.75)):
            canvas.disc(x + dx * size, base + dy * size, size * part, ball(green, 0.25, -0.3))


def _road(canvas: Canvas, top: float, tone: Colour) -> None:
    canvas.fill(box(-2, top, 402, 302), down(tone, 0.1, -0.15))
    canvas.line([(0, top + 3), (400, top + 3)], (224, 222, 210), 2, alpha=0.7)
    for i in range(6):
        x = -20 + i * 84
        canvas.fill([(x, 272), (x + 48, 272), (x + 44, 278), (x - 6, 278)], (236, 232, 214), alpha=0.85)


def street(rng: np.random.Generator) -> Backdrop:
    """Return a street in front of a row of houses."""
    canvas = Canvas(2.0)
    _sky(canvas, (108, 164, 216), (214, 230, 240), 196, 3, rng)
    x = -10.0
    while x < 400:
        width, top = rng.uniform(46, 88), rng.uniform(40, 120)
        tone: Colour = tuple(int(v) for v in rng.integers(120, 215, 3))  # pyright: ignore[reportAssignmentType]
        canvas.fill(box(x, top, x + width, 200), down(tone, 0.1, -0.15))
        for wx in np.arange(x + 8, x + width - 12, 16):
            for wy in np.arange(top + 10, 176, 22):
                canvas.fill(box(wx, wy, wx + 9, wy + 13), down(shade(tone, -0.55), 0.3, 0.0))
        x += width
    _trees(canvas, 196, 4, rng)
    canvas.fill(box(-2, 194, 402, 212), down((178, 174, 168)))
    _road(canvas, 208, (96, 98, 104))
    return Backdrop(_finished(canvas), (250, 250, 255), shadow=0.7)


def hills(rng: np.random.Generator) -> Backdrop:
    """Return a country road in front of hills."""
    canvas = Canvas(2.0)
    _sky(canvas, (86, 156, 222), (222, 238, 246), 190, 4, rng)
    for i, tone in enumerate(((126, 150, 170), (104, 146, 118), (92, 150, 78))):
        base = 130 + i * 22
        ridge = [(-40 + k * 60, base - rng.uniform(0, 46 - i * 8)) for k in range(9)]
        canvas.fill([*spline(ridge, closed=False), (440, 240), (-40, 240)], down(tone, 0.2, -0.15))
    _trees(canvas, 192, 5, rng)
    canvas.fill(box(-2, 188, 402, 216), down((112, 160, 74), 0.1, -0.2))
    _road(canvas, 212, (118, 114, 110))
    return Backdrop(_finished(canvas), (255, 252, 244), shadow=0.65)


def beach(rng: np.random.Generator) -> Backdrop:
    """Return a beach."""
    canvas = Canvas(2.0)
    _sky(canvas, (92, 178, 226), (236, 240, 232), 142, 3, rng)
    canvas.fill(box(-2, 138, 402, 200), Gradient(((0, (30, 110, 160)), (0.7, (70, 180, 196)), (1, (200, 232, 226)))))
    for _ in range(26):
        x, y = rng.uniform(0, 400), rng.uniform(142, 188)
        canvas.line([(x, y), (x + rng.uniform(8, 30), y)], WHITE, 1, alpha=0.4)
    shore = [(-30 + k * 55, 196 + rng.uniform(-5, 5)) for k in range(9)]
    canvas.fill([*spline(shore, closed=False), (440, 310), (-40, 310)], down((232, 208, 162), 0.2, -0.1))
    canvas.line(spline(shore, closed=False), WHITE, 4, alpha=0.8, blur=1.5)
    return Backdrop(_finished(canvas), (255, 250, 238), shadow=0.55)


def snow(rng: np.random.Generator) -> Backdrop:
    """Return a mountain pass in winter."""
    canvas = Canvas(2.0)
    _sky(canvas, (120, 160, 206), (232, 238, 246), 190, 2, rng)
    for i in range(6):
        x, width, tall = -30 + i * 84 + rng.uniform(-14, 14), rng.uniform(80, 120), rng.uniform(60, 130)
        peak = (x + width * 0.5, 196 - tall)
        canvas.fill([(x - 20, 200), peak, (x + width + 20, 200)], down((120, 136, 162), 0.2, -0.1))
        canvas.fill([(x - 20, 200), peak, (x + width * 0.44, 200)], (246, 249, 253), alpha=0.9)
    for x in np.sort(rng.uniform(-10, 410, 8)):
        size = rng.uniform(26, 50)
        for k in range(3):
            y, half = 204 - size * 0.3 * k, size * (0.34 - 0.07 * k)
            canvas.fill([(x - half, y), (x, y - size * 0.5), (x + half, y)], down((36, 74, 66), 0.5, -0.1))
    canvas.fill(box(-2, 200, 402, 302), Gradient(((0, (250, 252, 255)), (1, (200, 214, 232)))))
    _road(canvas, 222, (150, 158, 170))
    return Backdrop(_finished(canvas), (240, 246, 255), shadow=0.6)


def desert(rng: np.random.Generator) -> Backdrop:
    """Return a desert with red rocks."""
    canvas = Canvas(2.0)
    _sky(canvas, (240, 170, 104), (252, 232, 190), 200, 0, rng)
    canvas.disc(rng.uniform(60, 340), rng.uniform(50, 90), 22, (255, 246, 214), alpha=0.95, blur=1.5)
    for _ in range(3):
        x, width, top = rng.uniform(-20, 340), rng.uniform(50, 110), rng.uniform(96, 150)
        mesa = [
            (x - 14, 204),
            (x + 4, top + 6),
            (x + 8, top),
            (x + width - 8, top),
            (x + width - 2, top + 8),
            (x + width + 18, 204),
        ]
        canvas.fill(mesa, down((176, 84, 54), 0.2, -0.25))
        canvas.line([(x, top + 26), (x + width, top + 24)], (120, 54, 40), 2, alpha=0.5)
    canvas.fill(box(-2, 198, 402, 302), down((222, 160, 104), 0.15, -0.25))
    for x in rng.uniform(0, 400, 5):
        canvas.line([(x, 214), (x, 186)], (74, 108, 62), 6)
        canvas.line(spline([(x - 10, 190), (x - 9, 202), (x, 203)], closed=False), (74, 108, 62), 4)
    return Backdrop(_finished(canvas), (255, 238, 216), shadow=0.65)


def forest(rng: np.random.Generator) -> Backdrop:
    """Return a clearing in a forest."""
    canvas = Canvas(2.0)
    canvas.fill(box(-2, -2, 402, 212), Gradient(((0, (40, 82, 58)), (1, (168, 196, 122)))))
    for x in np.sort(rng.uniform(-10, 410, 22)):
        width = rng.uniform(5, 15)
        canvas.fill(
            box(x, -2, x + width, 212),
            Gradient(((0, (58, 46, 38)), (0.4, (112, 92, 72)), (1, (44, 36, 30))), "h"),
            alpha=0.9,
        )
    for _ in range(90):
        x, y = rng.uniform(0, 400), rng.uniform(-6, 70)
        canvas.fill(
            ellipse(x, y, rng.uniform(12, 28), rng.uniform(8, 16)), (44, int(rng.integers(90, 140)), 56), alpha=0.55
        )
    canvas.fill(box(-2, 206, 402, 302), down((122, 108, 70), 0.1, -0.3))
    canvas.line([(0, 208), (400, 208)], (86, 128, 56), 10, alpha=0.9, blur=3)
    return Backdrop(_finished(canvas), (236, 246, 226), shadow=0.7)


def dusk(rng: np.random.Generator) -> Backdrop:
    """Return a town in the evening with lights out of focus."""
    canvas = Canvas(2.0)
    canvas.fill(box(-2, -2, 402, 210), Gradient(((0, (34, 34, 74)), (0.55, (142, 74, 110)), (1, (246, 160, 96)))))
    x = -10.0
    while x < 400:
        width, top = rng.uniform(24, 56), rng.uniform(70, 160)
        canvas.fill(box(x, top, x + width, 212), (34, 30, 52))
        x += width
    for _ in range(60):
        tone = ((255, 214, 130), (255, 170, 110), (190, 220, 255))[int(rng.integers(3))]
        canvas.disc(rng.uniform(0, 400), rng.uniform(110, 206), rng.uniform(1.5, 7), tone, alpha=0.5, blur=0.6)
    canvas.fill(box(-2, 208, 402, 302), down((58, 52, 70), 0.1, -0.35))
    canvas.fill(ellipse(200, 214, 220, 12), (250, 170, 110), alpha=0.3, blur=8)
    return Backdrop(_finished(canvas), (226, 202, 204), glossy=True, shadow=0.7)


def showroom(rng: np.random.Generator) -> Backdrop:
    """Return a dark hall with light panels."""
    canvas = Canvas(2.0)
    canvas.fill(box(-2, -2, 402, 204), down((40, 44, 52), 0.05, -0.2))
    for i in range(4):
        x = 14 + i * 98 + rng.uniform(-6, 6)
        canvas.fill(box(x, 24, x + 70, 34, 3), (244, 248, 255), alpha=0.95)
        canvas.fill(box(x - 10, 20, x + 80, 70, 10), (180, 205, 240), alpha=0.3, blur=12)
        canvas.fill(box(x + 8, 84, x + 62, 180, 3), down((62, 68, 80), 0.1, -0.3))
    canvas.fill(box(-2, 202, 402, 302), Gradient(((0, (96, 100, 110)), (1, (44, 46, 52)))))
    return Backdrop(_finished(canvas), glossy=True, shadow=0.8)


def _boards(canvas: Canvas, top: float, tone: Colour, rng: np.random.Generator) -> None:
    canvas.fill(box(-2, top, 402, 302), down(tone, 0.15, -0.2))
    for i in range(70):
        x, y = rng.uniform(-40, 380), top + 4 + (i / 70) * (296 - top)
        canvas.line([(x, y), (x + rng.uniform(40, 160), y + rng.uniform(-1, 1))], shade(tone, -0.4), 0.8, alpha=0.22)
    for y in (top + 24, top + 56):
        canvas.line([(0, y), (400, y)], shade(tone, -0.6), 1.2, alpha=0.6)
    canvas.line([(0, top + 1), (400, top + 1)], shade(tone, 0.45), 1.6, alpha=0.7)


def kitchen(rng: np.random.Generator) -> Backdrop:
    """Return a wooden worktop in front of tiles."""
    canvas = Canvas(2.0)
    tone = ((206, 222, 220), (226, 214, 196), (168, 196, 208), (214, 196, 190))[int(rng.integers(4))]
    canvas.fill(box(-2, -2, 402, 210), shade(tone, -0.25))
    for row in range(6):
        for column in range(9):
            x, y = -30 + column * 52 + (row % 2) * 26, row * 34
            canvas.fill(box(x, y, x + 50, y + 32, 2), down(shade(tone, rng.uniform(-0.05, 0.12)), 0.2, -0.06))
    _boards(canvas, 204, (150, 104, 62), rng)
    return Backdrop(_finished(canvas), (255, 252, 246), shadow=0.6)


def cafe(rng: np.random.Generator) -> Backdrop:
    """Return a table in front of a room out of focus."""
    canvas = Canvas(2.0)
    warm = ((92, 60, 42), (56, 66, 74), (70, 76, 52))[int(rng.integers(3))]
    canvas.fill(box(-2, -2, 402, 212), down(warm, 0.2, -0.2))
    for _ in range(26):
        tone = ((255, 206, 120), (255, 236, 200), (206, 120, 70), (120, 150, 130))[int(rng.integers(4))]
        canvas.disc(rng.uniform(0, 400), rng.uniform(0, 190), rng.uniform(8, 26), tone, alpha=0.32, blur=2.5)
    _boards(canvas, 208, (112, 70, 44), rng)
    return Backdrop(_finished(canvas), (255, 244, 230), glossy=True, shadow=0.7)


def room(rng: np.random.Generator) -> Backdrop:
    """Return a wooden floor and a wall with a painting and a window."""
    canvas = Canvas(2.0)
    wall = ((206, 214, 204), (228, 214, 196), (176, 194, 208), (222, 200, 196), (120, 140, 138))[int(rng.integers(5))]
    canvas.fill(box(-2, -2, 402, 228), down(wall, 0.15, -0.1))
    side = int(rng.integers(2)) * 262
    canvas.fill(box(24 + side, 24, 112 + side, 138), down((244, 242, 236), 0.2, -0.15))
    canvas.fill(
        box(30 + side, 30, 106 + side, 132),
        Gradient(((0, (150, 200, 232)), (0.7, (226, 238, 240)), (1, (150, 186, 120)))),
    )
    canvas.line([(68 + side, 30), (68 + side, 132)], (244, 242, 236), 4)
    canvas.line([(30 + side, 82), (106 + side, 82)], (244, 242, 236), 4)
    other = 300 - side
    canvas.fill(box(other, 40, other + 64, 112), (70, 56, 46))
    canvas.fill(box(other + 5, 45, other + 59, 107), down((236, 226, 206)))
    canvas.disc(other + 32, 70, 14, (226, 120, 70))
    canvas.fill(
        [(other + 5, 107), (other + 26, 80), (other + 40, 94), (other + 48, 86), (other + 59, 107)], (72, 104, 112)
    )
    canvas.fill(box(-2, 218, 402, 230), (238, 234, 226))
    _boards(canvas, 229, (176, 132, 88), rng)
    return Backdrop(_finished(canvas), (255, 250, 242), shadow=0.55)


def lawn(rng: np.random.Generator) -> Backdrop:
    """Return a garden."""
    canvas = Canvas(2.0)
    _sky(canvas, (96, 168, 228), (226, 240, 248), 232, 4, rng)
    _trees(canvas, 222, 7, rng)
    canvas.fill(box(-2, 216, 402, 302), down((108, 170, 72), 0.15, -0.3))
    for _ in range(160):
        x, y = rng.uniform(0, 400), rng.uniform(226, 298)
        canvas.line([(x, y), (x + rng.uniform(-2, 2), y - rng.uniform(3, 7))], (70, 130, 46), 1, alpha=0.6)
    return Backdrop(_finished(canvas), (255, 254, 246), shadow=0.5)


def table_top(rng: np.random.Generator) -> Backdrop:
    """Return boards seen from above."""
    canvas = Canvas(2.0)
    tone = ((168, 122, 80), (96, 70, 54), (206, 190, 168), (74, 92, 104))[int(rng.integers(4))]
    for i in range(6):
        top = i * 52 - 4
        canvas.fill(box(-2, top, 402, top + 50), down(shade(tone, rng.uniform(-0.12, 0.12)), 0.06, -0.08))
        for _ in range(14):
            x, y = rng.uniform(-60, 380), top + rng.uniform(3, 47)
            canvas.line(
                [(x, y), (x + rng.uniform(60, 200), y + rng.uniform(-2, 2))], shade(tone, -0.45), 0.9, alpha=0.25
            )
        canvas.line([(0, top + 50), (400, top + 50)], shade(tone, -0.7), 2)
    return Backdrop(_finished(canvas), (255, 250, 242), shadow=0.75)


def stone(rng: np.random.Generator) -> Backdrop:
    """Return a marble slab seen from above."""
    canvas = Canvas(2.0)
    tone = ((234, 232, 228), (58, 62, 68), (196, 208, 200))[int(rng.integers(3))]
    canvas.fill(box(-2, -2, 402, 302), Gradient(((0, shade(tone, 0.08)), (1, shade(tone, -0.08)))))
    vein = shade(tone, -0.35 if sum(tone) > 380 else 0.4)
    for _ in range(9):
        y = rng.uniform(-60, 340)
        path = [(-20 + k * 74, y + k * rng.uniform(-6, 16) + rng.uniform(-22, 22)) for k in range(7)]
        canvas.line(spline(path, closed=False), vein, rng.uniform(0.8, 4), alpha=0.4, blur=1.4)
    return Backdrop(_finished(canvas), shadow=0.6)


SCENES: dict[str, Callable[[np.random.Generator], Backdrop]] = {
    scene.__name__: scene
    for scene in (
        street,
        hills,
        beach,
        snow,
        desert,
        forest,
        dusk,
        showroom,
        kitchen,
        cafe,
        room,
        lawn,
        table_top,
        stone,
    )
}
