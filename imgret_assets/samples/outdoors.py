"""Products for outdoors, for the drawn sample images: umbrellas, bicycles, houses.

Belongs here: their shapes. Each function paints one of two designs in a main and a second colour. Not here: products
to carry (`goods`), products of a household (`household`), cars (`cars`).
"""

from imgret_assets.samples.canvas import (
    BLACK,
    CHROME,
    WHITE,
    Canvas,
    Colour,
    Gradient,
    Point,
    ball,
    box,
    cylinder,
    down,
    ellipse,
    shade,
    spline,
    turned,
)

GROUND = 262.0


_WOOD: Colour = (150, 98, 56)


_PANE = Gradient(((0, (150, 190, 214)), (0.5, (206, 226, 236)), (1, (108, 146, 170))))


def umbrella(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint an open umbrella, of one colour or in two."""
    canvas.line([(200, 52), (200, 236)], cylinder((120, 90, 60)), 4.5)
    canvas.line(ellipse(186, 236, 14, 20, 0, 180), _WOOD, 8)
    canvas.fill(ellipse(200, 178, 160, 36, 180, 360), shade(colour, -0.55))
    ribs = [40, 96, 160, 240, 304, 360]
    for i in range(5):
        left, right = ribs[i], ribs[i + 1]
        middle = (left + right) / 2
        paint = colour if design == 0 or i % 2 == 0 else second
        edge = ellipse(middle, 178, (right - left) / 2, 16, 180, 360)
        curve_left = spline(
            [(200, 58), ((left + 200) / 2 + (left - 200) * 0.12, (58 + 178) / 2 - 36), (left, 178)], closed=False
        )
        curve_right = spline(
            [(200, 58), ((right + 200) / 2 + (right - 200) * 0.12, (58 + 178) / 2 - 36), (right, 178)], closed=False
        )
        tone = 0.2 - abs(i - 1.4) * 0.13
        canvas.fill([*curve_left, *edge, *reversed(curve_right)], down(shade(paint, tone), 0.3, -0.25))
        canvas.line(curve_left, shade(paint, -0.5), 1, alpha=0.5)
    if design == 0:
        canvas.line([(60, 166), (124, 156), (200, 160), (276, 156), (340, 166)], second, 4, alpha=0.8)
    canvas.line([(200, 60), (200, 42)], (60, 56, 52), 4)


def bike(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint a racing bicycle, or a city bicycle with basket and mudguards."""
    rear, front, hub = (112.0, 206.0), (292.0, 206.0), (194.0, 210.0)
    seat, head = (160.0, 112.0), (264.0, 104.0)
    for cx, cy in (rear, front):
        canvas.line(ellipse(cx, cy, 54, 54), (26, 27, 30), 5 if design == 0 else 7)
        canvas.line(ellipse(cx, cy, 50, 50), CHROME, 2)
        for i in range(14):
            canvas.line(turned([(cx, cy), (cx + 49, cy)], i * 360 / 14, (cx, cy)), (150, 154, 160), 0.8)
        canvas.disc(cx, cy, 6, ball(CHROME))
        if design == 1:
            canvas.line(ellipse(cx, cy, 60, 60, 195, 330), down(second, 0.3, -0.3), 5)
    tubes: list[tuple[Point, ...]] = [
        (rear, hub),
        (rear, seat),
        (hub, seat),
        (hub, (268, 122)),
        (head, (276, 140), front),
    ]
    tubes.append((seat, (262, 110)) if design == 0 else ((hub[0] - 16, 176), (266, 126)))
    for tube in tubes:
        canvas.line(tube, shade(colour, -0.35), 8)
        canvas.line([(x - 0.6, y - 1.4) for x, y in tube], shade(colour, 0.15), 4.5)
    canvas.line([seat, (154, 92)], CHROME, 5)
    canvas.fill(
        spline([(128, 88), (142, 82), (184, 88), (180, 94), (150, 96), (130, 98)]),
        down((40, 38, 38) if design == 0 else shade(second, -0.4), 0.3, -0.2),
    )
    if design == 0:
        canvas.line(spline([(262, 98), (272, 88), (294, 90), (302, 104), (290, 116)], closed=False), (44, 44, 48), 6)
    else:
        canvas.line(spline([(266, 106), (258, 78), (240, 72), (226, 84)], closed=False), CHROME, 5)
        canvas.line([(240, 74), (222, 86)], shade(second, -0.4), 8)
        canvas.fill([(282, 96), (336, 96), (328, 134), (290, 134)], down((190, 142, 86), 0.2, -0.3))
        for i in range(6):
            canvas.line([(284 + i * 9.5, 97), (291 + i * 7, 133)], (110, 74, 40), 1.4)
        for y in (108, 120):
            canvas.line([(285, y), (333, y)], (110, 74, 40), 1.4)
    canvas.disc(*hub, 18, (70, 72, 78))
    canvas.disc(*hub, 13, down(CHROME))
    canvas.line([(rear[0], rear[1] - 5), (hub[0], hub[1] - 16)], (60, 60, 64), 1.8)
    canvas.line([(rear[0], rear[1] + 5), (hub[0], hub[1] + 16)], (60, 60, 64), 1.8)
    canvas.line([hub, (206, 240)], (50, 50, 54), 5)
    canvas.fill(box(196, 238, 220, 245, 3), (36, 36, 40))


def house(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint a house with a gabled roof, or a flat-roofed villa."""
    if design == 0:
        canvas.fill(box(268, 62, 290, 118), down((150, 84, 66)))
        canvas.fill(box(264, 56, 294, 66, 2), down((120, 66, 52)))
        canvas.fill(box(92, 134, 312, 262), down(colour, 0.2, -0.18))
        canvas.fill([(92, 150), (202, 62), (312, 150)], down(colour, 0.15, 0.05))
        for i in range(15):
            canvas.line([(93, 142 + i * 8), (311, 142 + i * 8)], BLACK, 0.7, alpha=0.1)
        canvas.fill([(202, 46), (336, 150), (326, 162), (202, 66), (78, 162), (68, 150)], down(second, 0.25, -0.3))
        canvas.fill([(92, 158), (202, 70), (312, 158), (312, 172), (202, 84), (92, 172)], BLACK, alpha=0.16, blur=4)
        for x, y, w, h in ((112, 172, 44, 46), (248, 172, 44, 46), (184, 104, 36, 36)):
            _pane(canvas, (x, y, x + w, y + h))
        canvas.fill(box(180, 188, 224, 262, 3), WHITE)
        canvas.fill(box(184, 192, 220, 262, 2), cylinder(shade(second, -0.15), 0.5))
        canvas.disc(214, 230, 2.6, ball((230, 190, 90)))
        canvas.fill(box(170, 256, 234, 264), down((170, 170, 168)))
    else:
        canvas.fill(box(54, 142, 250, 262), down(colour, 0.15, -0.12))
        canvas.fill(box(160, 72, 346, 146), down(shade(colour, 0.25), 0.2, -0.08))
        canvas.fill(box(152, 64, 354, 76, 2), down(second, 0.2, -0.2))
        canvas.fill(box(46, 138, 262, 148, 2), down(second, 0.2, -0.2))
        canvas.fill(box(250, 146, 346, 262), down((120, 92, 70), 0.1, -0.3))
        for i in range(12):
            canvas.line([(254 + i * 8, 148), (254 + i * 8, 261)], BLACK, 1, alpha=0.25)
        canvas.fill(box(262, 180, 330, 262, 2), down((226, 228, 230), 0.2, -0.2))
        for i in range(5):
            canvas.line([(263, 194 + i * 14), (329, 194 + i * 14)], BLACK, 1, alpha=0.25)
        for x0, y0, x1, y1 in ((178, 86, 252, 136), (266, 86, 330, 136), (72, 164, 168, 250)):
            _pane(canvas, (x0, y0, x1, y1))
        canvas.fill(box(186, 172, 224, 262, 2), down(shade(second, -0.1), 0.2, -0.3))
        canvas.line([(192, 216), (192, 236)], CHROME, 2.4)
    for x in (62, 84, 330, 352):
        canvas.disc(x, 248, 20, ball((72, 134, 62), 0.25, -0.35))


def _pane(canvas: Canvas, corners: tuple[float, float, float, float]) -> None:
    x0, y0, x1, y1 = corners
    canvas.fill(box(x0 - 4, y0 - 4, x1 + 4, y1 + 5, 1), down((240, 240, 238), 0.2, -0.2))
    canvas.fill(box(x0, y0, x1, y1), _PANE)
    canvas.fill(
        [(x0 + 4, y1), (x0 + (x1 - x0) * 0.5, y0), (x0 + (x1 - x0) * 0.75, y0), (x0 + (x1 - x0) * 0.3, y1)],
        WHITE,
        alpha=0.35,
    )
    canvas.line([((x0 + x1) / 2, y0), ((x0 + x1) / 2, y1)], (244, 244, 242), 3)
    canvas.line([(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2)], (244, 244, 242), 3)
