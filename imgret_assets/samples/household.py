"""Products of a household, for the drawn sample images: tableware, furniture, lamps, plants, clocks.

Belongs here: their shapes. Each function paints one of two designs in a main and a second colour. Not here: products
to carry or wear (`goods`), products for outdoors (`outdoors`), cars (`cars`).
"""

import math

from imgret_assets.samples.canvas import (
    BLACK,
    CHROME,
    WHITE,
    Canvas,
    Colour,
    Gradient,
    ball,
    box,
    cylinder,
    down,
    ellipse,
    rounded,
    shade,
    spline,
    turned,
)

GROUND = 262.0


_WOOD: Colour = (156, 106, 64)


_LEAF: Colour = (58, 126, 66)


def mug(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint a mug with stripes, or a cup on a saucer."""
    if design == 0:
        canvas.line(
            spline([(268, 134), (316, 130), (330, 170), (306, 208), (264, 222)], closed=False),
            down(shade(colour, -0.1), 0.3, -0.4),
            17,
        )
        canvas.line(spline([(270, 132), (312, 128), (324, 160)], closed=False), WHITE, 3, alpha=0.5, blur=1)
        outline = [(120, 112), (124, 250), *reversed(ellipse(200, 250, 76, 13, 0, 180)), (276, 250), (280, 112)]
        canvas.fill(outline, cylinder(colour))
        body = canvas.mask(outline)
        for y, width in ((166, 20.0), (194, 8.0)):
            canvas.line(
                [(112, y), *reversed(ellipse(200, y, 80, 12, 0, 180)), (288, y)], cylinder(second), width, clip=body
            )
        canvas.fill(ellipse(200, 112, 80, 15), down(shade(colour, 0.35), 0.3, -0.2))
        canvas.fill(ellipse(200, 114, 73, 12), Gradient(((0, (44, 26, 18)), (1, (104, 66, 40)))))
        canvas.line([(146, 136), (150, 236)], WHITE, 9, alpha=0.35, blur=4, clip=body)
        return
    canvas.fill(ellipse(200, 244, 142, 18), down(shade(colour, -0.15), 0.5, -0.4))
    canvas.fill(ellipse(200, 240, 138, 15), down(shade(colour, 0.2), 0.3, -0.2))
    canvas.line(ellipse(200, 240, 120, 12), second, 2.5)
    canvas.line(
        spline([(278, 150), (326, 140), (330, 178), (270, 204)], closed=False),
        down(shade(colour, -0.05), 0.4, -0.4),
        11,
    )
    outline = [
        (108, 132),
        *spline([(108, 132), (116, 184), (150, 228), (200, 236), (250, 228), (284, 184), (292, 132)], closed=False),
    ]
    canvas.fill(outline, cylinder(colour))
    body = canvas.mask(outline)
    canvas.line([(100, 150), *reversed(ellipse(200, 150, 92, 16, 0, 180)), (300, 150)], second, 6, clip=body)
    for i in range(7):
        x = 132 + i * 23
        canvas.disc(x, 186 - abs(i - 3) * 2.5, 6, ball(second))
    canvas.fill(ellipse(200, 132, 92, 16), down(shade(colour, 0.4), 0.3, -0.2))
    canvas.fill(ellipse(200, 134, 84, 12.5), Gradient(((0, (150, 84, 36)), (1, (206, 142, 84)))))
    canvas.line(spline([(136, 160), (146, 192), (168, 218)], closed=False), WHITE, 8, alpha=0.45, blur=3, clip=body)


def bottle(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint a wine bottle, or a drinking flask."""
    if design == 0:
        outline = rounded(
            [
                (152, 262, 10),
                (152, 128, 34),
                (182, 92, 18),
                (184, 24, 4),
                (216, 24, 4),
                (218, 92, 18),
                (248, 128, 34),
                (248, 262, 10),
            ]
        )
        canvas.fill(outline, cylinder(colour, 1.1))
        body = canvas.mask(outline)
        canvas.fill(box(180, 20, 220, 72), cylinder(second), clip=body)
        canvas.fill(box(181, 30, 219, 38, 3), cylinder(shade(second, -0.2)))
        canvas.fill(box(152, 154, 248, 230), cylinder((240, 232, 212), 0.6), clip=body)
        canvas.fill(box(152, 162, 248, 168), cylinder(second), clip=body)
        canvas.disc(200, 190, 14, second)
        canvas.fill(turned(box(193, 183, 207, 197), 45, (200, 190)), (240, 232, 212))
        for y, half in ((212, 30), (219, 22)):
            canvas.line([(200 - half, y), (200 + half, y)], (90, 70, 60), 2, alpha=0.7)
        canvas.line([(164, 132), (164, 250)], WHITE, 5, alpha=0.5, blur=2, clip=body)
        return
    canvas.line(ellipse(200, 44, 26, 22, 180, 360), shade(second, -0.2), 8)
    canvas.fill(box(170, 40, 230, 76, 8), cylinder(second))
    for i in range(6):
        canvas.line([(176 + i * 10, 48), (176 + i * 10, 72)], BLACK, 1.4, alpha=0.3)
    outline = rounded([(146, 262, 14), (146, 108, 30), (172, 78, 10), (228, 78, 10), (254, 108, 30), (254, 262, 14)])
    canvas.fill(outline, cylinder(colour))
    body = canvas.mask(outline)
    canvas.fill(box(140, 240, 260, 264), cylinder(CHROME), clip=body)
    peak = [(150, 214), (182, 164), (196, 184), (216, 148), (252, 214)]
    canvas.fill(peak, shade(second, 0.3), alpha=0.95, clip=body)
    canvas.disc(176, 142, 9, shade(second, 0.3))
    canvas.line([(164, 112), (164, 234)], WHITE, 6, alpha=0.45, blur=3, clip=body)


def teapot(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint a round teapot, or a tall coffee pot."""
    if design == 0:
        canvas.line(
            spline([(272, 140), (336, 128), (346, 190), (276, 222)], closed=False),
            down(shade(colour, -0.1), 0.3, -0.4),
            15,
        )
        canvas.fill(
            spline([(132, 220), (96, 196), (74, 150), (50, 134), (60, 124), (96, 132), (120, 160), (150, 168)]),
            down(colour, 0.35, -0.4),
        )
        outline = spline(
            [
                (114, 190),
                (130, 146),
                (170, 120),
                (200, 116),
                (230, 120),
                (270, 146),
                (286, 190),
                (268, 236),
                (236, 258),
                (164, 258),
                (132, 236),
            ]
        )
        lid, knob, band = ellipse(200, 122, 50, 16), (200.0, 92.0, 11.0), 200.0
    else:
        canvas.line(
            spline([(252, 92), (322, 92), (326, 180), (264, 222)], closed=False), down((70, 48, 36), 0.2, -0.3), 13
        )
        canvas.fill(
            spline([(150, 190), (120, 150), (104, 96), (84, 84), (96, 76), (124, 88), (140, 126), (160, 150)]),
            down(colour, 0.35, -0.4),
        )
        outline = spline(
            [
                (148, 80),
                (200, 74),
                (252, 80),
                (258, 140),
                (276, 210),
                (272, 254),
                (200, 262),
                (128, 254),
                (124, 210),
                (142, 140),
            ]
        )
        lid, knob, band = ellipse(200, 78, 54, 14), (200.0, 48.0, 10.0), 180.0
    canvas.fill(outline, cylinder(colour))
    body = canvas.mask(outline)
    canvas.line(
        [(90, band), *reversed(ellipse(200, band, 90, 12, 0, 180)), (310, band)], cylinder(second), 14, clip=body
    )
    canvas.line(
        [(90, band + 16), *reversed(ellipse(200, band + 16, 90, 12, 0, 180)), (310, band + 16)],
        cylinder(second),
        4,
        clip=body,
    )
    canvas.fill(
        spline([(150, 150), (164, 140), (168, 190), (152, 220), (142, 190)]), WHITE, alpha=0.4, blur=5, clip=body
    )
    canvas.fill([(x, y + 3) for x, y in lid], BLACK, alpha=0.35, blur=1.5)
    canvas.fill(lid, down(shade(colour, 0.1), 0.4, -0.3))
    canvas.fill(ellipse(knob[0], knob[1] + 12, 5, 12), cylinder(second))
    canvas.disc(*knob, ball(second))


def chair(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint a wooden chair with a cushion, or an office chair."""
    if design == 0:
        wood = down(second, 0.25, -0.35)
        for x0, x1 in ((146, 150), (252, 250)):
            canvas.line([(x0, 36), (x1, 240)], shade(second, -0.25), 9)
        for y in (48, 76, 104):
            canvas.fill(
                spline([(148, y - 7), (200, y - 12), (252, y - 7), (252, y + 7), (200, y + 3), (148, y + 7)]), wood
            )
        for x0, x1 in ((132, 122), (268, 278)):
            canvas.fill([(x0 - 6, 170), (x0 + 6, 170), (x1 + 4, 262), (x1 - 4, 262)], cylinder(second))
        canvas.line([(128, 222), (272, 222)], shade(second, -0.2), 6)
        canvas.fill(rounded([(146, 146, 6), (254, 146, 6), (282, 176, 8), (118, 176, 8)]), wood)
        canvas.fill(box(118, 174, 282, 184, 4), shade(second, -0.35))
        canvas.fill(
            rounded([(150, 138, 12), (250, 138, 12), (274, 166, 12), (268, 174, 8), (132, 174, 8), (126, 166, 12)]),
            down(colour, 0.35, -0.35),
        )
        canvas.line([(146, 152), (254, 152)], WHITE, 5, alpha=0.25, blur=3)
        return
    canvas.fill(box(195, 186, 205, 236, 2), cylinder(CHROME))
    for x, y in ((138, 252), (170, 258), (230, 258), (262, 252)):
        canvas.line([(200, 232), (x, y - 4)], (52, 54, 58), 8)
        canvas.disc(x, y, 7, ball((40, 41, 44)))
    for side in (-1, 1):
        x = 200 + side * 78
        canvas.line([(x, 180), (x, 138), (x - side * 8, 134)], (54, 56, 60), 8)
        canvas.fill(box(x - 14, 128, x + 14, 138, 5), down((60, 62, 66)))
    back = rounded([(148, 158, 14), (138, 70, 26), (158, 34, 24), (242, 34, 24), (262, 70, 26), (252, 158, 14)])
    canvas.fill(back, cylinder(colour, 0.6))
    inner = canvas.mask(back)
    for i in range(1, 6):
        canvas.line([(138, 34 + i * 21), (262, 34 + i * 21)], BLACK, 1.6, alpha=0.25, clip=inner)
        canvas.line([(138, 36 + i * 21), (262, 36 + i * 21)], WHITE, 1.2, alpha=0.2, clip=inner)
    canvas.fill(box(166, 40, 234, 58, 8), down(second, 0.2, -0.2))
    canvas.fill(
        rounded([(140, 158, 12), (260, 158, 12), (282, 182, 12), (270, 196, 10), (130, 196, 10), (118, 182, 12)]),
        down(shade(colour, -0.05), 0.3, -0.45),
    )


def lamp(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint a table lamp with a shade, or a desk lamp with an arm."""
    glow: Colour = (255, 236, 180)
    if design == 0:
        canvas.fill(ellipse(200, 130, 150, 130), glow, alpha=0.28, blur=26)
        canvas.fill(
            spline(
                [
                    (188, 150),
                    (186, 178),
                    (160, 206),
                    (166, 244),
                    (200, 252),
                    (234, 244),
                    (240, 206),
                    (214, 178),
                    (212, 150),
                ]
            ),
            cylinder(second),
        )
        canvas.fill(box(152, 250, 248, 262, 5), cylinder(shade(second, -0.25)))
        canvas.line([(168, 212), (172, 238)], WHITE, 5, alpha=0.45, blur=2)
        shape = rounded([(158, 40, 4), (242, 40, 4), (290, 152, 6), (110, 152, 6)])
        canvas.fill(shape, cylinder(colour, 0.5))
        pane = canvas.mask(shape)
        canvas.fill(ellipse(200, 124, 66, 60), glow, alpha=0.6, blur=22, clip=pane)
        for i in range(13):
            canvas.line([(158 + i * 7, 40), (110 + i * 15, 152)], BLACK, 1, alpha=0.1, clip=pane)
        for y, x in ((43, 42), (149, 90)):
            canvas.line([(200 - x, y), (200 + x, y)], shade(colour, -0.35), 4)
        return
    canvas.fill(ellipse(226, 254, 64, 9), down(shade(colour, -0.25), 0.3, -0.4))
    canvas.fill(ellipse(226, 250, 62, 8), down(colour, 0.4, -0.1))
    canvas.line([(226, 248), (262, 154)], cylinder(CHROME), 6)
    canvas.line([(262, 154), (178, 72)], down(CHROME), 6)
    canvas.line([(252, 152), (172, 78)], shade(second, -0.1), 1.8)
    for x, y in ((262, 154), (178, 72)):
        canvas.disc(x, y, 8, ball(second))
    canvas.fill([(92, 126), (168, 150), (210, 262), (40, 262)], glow, alpha=0.3, blur=12)
    canvas.fill(turned(ellipse(133, 132, 44, 14), 28, (133, 132)), (255, 246, 214))
    canvas.fill(
        spline([(184, 52), (196, 66), (190, 92), (172, 152), (132, 136), (92, 112), (132, 68), (166, 52)]),
        down(colour, 0.4, -0.3),
    )
    canvas.fill(
        turned(ellipse(133, 132, 42, 9), 28, (133, 132)), Gradient(((0, (255, 250, 226)), (1, (250, 214, 120))))
    )
    canvas.line(spline([(118, 98), (140, 76), (166, 64)], closed=False), WHITE, 5, alpha=0.5, blur=2)


def sofa(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint a sofa with three seats, or an armchair."""
    left, right, seats = (44, 356, 3) if design == 0 else (112, 288, 1)
    for x in (left + 22, right - 22):
        canvas.fill([(x - 7, 240), (x + 7, 240), (x + 3, 262), (x - 3, 262)], down(_WOOD))
    canvas.fill(box(left + 14, 98 if design == 0 else 64, right - 14, 220, 26), down(shade(colour, -0.1), 0.3, -0.35))
    width = (right - left - 64) / seats
    for i in range(seats):
        x = left + 32 + i * width
        canvas.fill(box(x + 1, 112 if design == 0 else 80, x + width - 1, 200, 14), down(colour, 0.3, -0.2))
        canvas.disc(x + width / 2, 152, 2.6, shade(colour, -0.4))
        canvas.fill(box(x + 1, 180, x + width - 1, 216, 10), down(shade(colour, 0.06), 0.35, -0.35))
        canvas.line([(x + 12, 185), (x + width - 12, 185)], WHITE, 4, alpha=0.3, blur=2)
    canvas.fill(box(left + 16, 212, right - 16, 246, 8), down(shade(colour, -0.15), 0.1, -0.35))
    for x in (left, right - 40):
        canvas.fill(box(x, 138, x + 40, 248, 18), cylinder(shade(colour, -0.02), 0.6))
        canvas.fill(ellipse(x + 20, 158, 16, 16), ball(shade(colour, 0.08), 0.25, -0.25))
    for i in range(2 if design == 0 else 1):
        x = 84 + i * 184 if design == 0 else 172
        pillow = turned(
            spline(
                [
                    (x, 140),
                    (x + 28, 144),
                    (x + 56, 140),
                    (x + 52, 166),
                    (x + 56, 194),
                    (x + 28, 190),
                    (x, 194),
                    (x + 4, 166),
                ]
            ),
            -10 + 20 * i,
            (x + 28, 166),
        )
        canvas.fill([(px + 2, py + 4) for px, py in pillow], BLACK, alpha=0.3, blur=4)
        canvas.fill(pillow, down(second, 0.3, -0.25))


def plant(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint a pot with upright leaves, or one with a round crown of flowers."""
    if design == 0:
        for i, (lean, height) in enumerate(
            ((-46, 128), (42, 136), (-24, 168), (26, 172), (-6, 190), (10, 150), (-36, 92), (36, 96))
        ):
            x = 200 + lean * 0.4
            leaf = spline(
                [
                    (x - 9, 196),
                    (x + lean * 0.5 - 15, 196 - height * 0.5),
                    (x + lean, 196 - height),
                    (x + lean * 0.5 + 13, 196 - height * 0.5),
                    (x + 9, 196),
                ]
            )
            green = shade(_LEAF, (i % 3 - 1) * 0.16)
            canvas.fill(leaf, down(green, 0.25, -0.3))
            canvas.line(
                [(x, 196), (x + lean * 0.5, 196 - height * 0.5), (x + lean, 200 - height)],
                (206, 216, 130),
                2,
                alpha=0.7,
            )
    else:
        for i in range(46):
            angle, far = i * 2.4, math.sqrt(i / 46)
            x, y = 200 + 92 * far * math.cos(angle), 118 + 66 * far * math.sin(angle)
            leaf = turned(spline([(x - 20, y), (x, y - 10), (x + 20, y), (x, y + 10)]), math.degrees(angle), (x, y))
            canvas.fill(leaf, down(shade(_LEAF, -0.25 + 0.3 * (1 - (y - 50) / 140)), 0.15, -0.25))
            if i % 3 == 0:
                for petal in range(5):
                    canvas.disc(
                        x + 8 * math.cos(petal * 1.257), y + 8 * math.sin(petal * 1.257), 6, ball(second, 0.5, -0.1)
                    )
                canvas.disc(x, y, 4, (250, 206, 70))
    canvas.fill([(148, 190), (252, 190), (236, 262), (164, 262)], cylinder(colour))
    canvas.fill(box(140, 182, 260, 202, 4), cylinder(shade(colour, 0.08)))
    canvas.line([(146, 204), (254, 204)], BLACK, 3, alpha=0.3, blur=1.5)


def clock(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint a round wall clock, or an alarm clock with two bells."""
    centre, r = ((200.0, 150.0), 118.0) if design == 0 else ((200.0, 168.0), 86.0)
    cx, cy = centre
    if design == 1:
        for side in (-1, 1):
            canvas.line([(cx + side * 50, 230), (cx + side * 66, 258)], shade(colour, -0.3), 11)
            bell = ellipse(cx + side * 52, 82, 40, 34, 180, 360)
            canvas.fill(turned(bell, side * 32, (cx + side * 52, 82)), down(second, 0.45, -0.35))
        canvas.line(ellipse(cx, 62, 18, 16, 180, 360), CHROME, 5)
    canvas.disc(cx, cy, r, Gradient(((0, shade(colour, 0.4)), (0.5, colour), (1, shade(colour, -0.45)))))
    canvas.disc(cx, cy, r * 0.88, Gradient(((0, shade(colour, -0.5)), (1, shade(colour, 0.2)))))
    canvas.disc(cx, cy, r * 0.85, ball((250, 248, 240), 0.3, -0.12))
    for i in range(12):
        mark = turned([(cx + r * 0.68, cy), (cx + r * 0.78, cy)], i * 30, centre)
        canvas.line(mark, second if design == 0 else (50, 50, 54), 7 if i % 3 == 0 else 3.4)
    for angle, length, width in ((-60 - 60 * design, 0.42, 7.0), (-150 + 120 * design, 0.64, 5.0)):
        canvas.line(turned([(cx - 12, cy), (cx + r * length, cy)], angle, centre), (34, 36, 40), width)
    canvas.line(turned([(cx - 18, cy), (cx + r * 0.7, cy)], 70, centre), (210, 50, 44), 2)
    canvas.disc(cx, cy, 6, ball((210, 50, 44)))
    canvas.fill(ellipse(cx - r * 0.25, cy - r * 0.35, r * 0.45, r * 0.3), WHITE, alpha=0.3, blur=9)
