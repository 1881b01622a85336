"""Products to carry or wear, for the drawn sample images: shoes, bags, watches, guitars, headphones, cameras.

Belongs here: their shapes. Each function paints one of two designs in a main and a second colour. Not here: products
of a household (`household`), products for outdoors (`outdoors`), cars (`cars`).
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


_WOOD: Colour = (150, 98, 56)


def shoe(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint a running shoe, or a boot; the toe to the left."""
    if design == 0:
        _running_shoe(canvas, colour, second)
    else:
        _boot(canvas, colour, second)


def _running_shoe(canvas: Canvas, colour: Colour, second: Colour) -> None:
    upper = spline(
        [
            (52, 240),
            (56, 212),
            (96, 194),
            (140, 176),
            (178, 142),
            (200, 120),
            (222, 132),
            (262, 136),
            (298, 116),
            (318, 122),
            (326, 168),
            (338, 212),
            (336, 242),
            (200, 248),
        ]
    )
    canvas.fill(spline([(186, 138), (202, 104), (222, 110), (226, 140), (196, 152)]), down(shade(colour, -0.3)))
    canvas.fill(upper, down(colour, 0.3, -0.35))
    body = canvas.mask(upper)
    canvas.fill(spline([(222, 132), (262, 142), (298, 122), (300, 114), (262, 128)]), shade(second, -0.5), clip=body)
    canvas.fill(
        spline([(40, 250), (54, 206), (92, 200), (110, 226), (108, 254)]),
        down(shade(second, -0.05), 0.3, -0.3),
        clip=body,
    )
    canvas.fill(
        spline([(288, 150), (345, 150), (350, 250), (296, 250), (306, 200)]), down(second, 0.25, -0.3), clip=body
    )
    swoosh = spline([(150, 230), (220, 222), (288, 172), (294, 180), (240, 236), (176, 246)])
    canvas.fill(swoosh, down(WHITE if sum(colour) < 560 else second, 0.2, -0.15), clip=body)
    for i in range(5):
        x, y = 136 + i * 15.5, 183 - i * 13
        canvas.line([(x, y), (x + 25, y + 20)], BLACK, 7, alpha=0.25, blur=1.5, clip=body)
        canvas.line([(x, y - 2), (x + 25, y + 17)], shade(second, 0.75), 5)
    canvas.line([(60, 208), (100, 190), (142, 172)], WHITE, 5, alpha=0.35, blur=3, clip=body)
    sole = spline(
        [
            (44, 240),
            (60, 236),
            (200, 243),
            (330, 232),
            (348, 232),
            (350, 250),
            (340, 261),
            (200, 263),
            (70, 262),
            (46, 254),
        ]
    )
    canvas.fill(sole, Gradient(((0, (250, 250, 250)), (0.6, (226, 228, 230)), (1, (120, 122, 126)))))
    canvas.line([(52, 252), (200, 254), (344, 247)], second, 3.5)
    for i in range(22):
        canvas.line([(66 + i * 12.4, 258), (69 + i * 12.4, 263)], (60, 62, 66), 2.4)


def _boot(canvas: Canvas, colour: Colour, second: Colour) -> None:
    upper = spline(
        [
            (72, 244),
            (70, 212),
            (100, 190),
            (146, 180),
            (168, 150),
            (170, 100),
            (166, 62),
            (200, 54),
            (258, 58),
            (262, 62),
            (258, 120),
            (274, 190),
            (278, 244),
            (180, 248),
        ]
    )
    canvas.fill(upper, down(colour, 0.3, -0.4))
    body = canvas.mask(upper)
    canvas.fill(
        spline([(60, 250), (72, 204), (108, 196), (120, 226), (112, 254)]),
        down(shade(colour, -0.25), 0.2, -0.3),
        clip=body,
    )
    canvas.fill(
        spline([(236, 150), (290, 160), (300, 250), (240, 250), (250, 200)]), shade(colour, -0.25), alpha=0.8, clip=body
    )
    canvas.fill(spline([(160, 50), (270, 50), (268, 76), (164, 78)]), down(second, 0.2, -0.3), clip=body)
    for i in range(6):
        x, y = 152 + min(i, 3) * 7, 176 - i * 19
        canvas.line([(x, y), (x + 34, y - 6)], shade(second, 0.5), 3.6)
        canvas.disc(x + 35, y - 6, 3.4, ball((220, 180, 90)))
    canvas.line([(214, 80), (216, 150), (228, 236)], BLACK, 1.4, alpha=0.35, clip=body)
    canvas.line([(226, 80), (228, 150), (236, 190)], WHITE, 7, alpha=0.25, blur=4, clip=body)
    canvas.fill(
        rounded([(64, 238, 4), (282, 238, 4), (286, 262, 4), (226, 262, 3), (220, 254, 3), (80, 262, 6), (62, 254, 4)]),
        down((66, 48, 36), 0.25, -0.4),
    )
    canvas.line([(68, 242), (280, 242)], (226, 196, 140), 1.6, alpha=0.9)


def bag(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint a handbag with two handles, or a backpack."""
    if design == 0:
        canvas.line(ellipse(200, 128, 52, 78, 180, 360), shade(colour, -0.45), 8)
        canvas.line(ellipse(200, 134, 46, 72, 180, 360), down(shade(colour, -0.1)), 7)
        outline = spline(
            [
                (96, 254),
                (100, 180),
                (116, 128),
                (160, 120),
                (240, 120),
                (284, 128),
                (300, 180),
                (304, 254),
                (280, 262),
                (120, 262),
            ]
        )
        canvas.fill(outline, down(colour, 0.3, -0.35))
        body = canvas.mask(outline)
        canvas.fill(box(90, 214, 310, 270), down(second, 0.1, -0.35), clip=body)
        canvas.line([(92, 213), (308, 213)], shade(second, 0.5), 1.4, alpha=0.9, clip=body)
        canvas.fill(
            spline([(120, 126), (130, 170), (126, 262), (92, 262), (92, 160)]), BLACK, alpha=0.18, blur=5, clip=body
        )
        canvas.fill(spline([(220, 124), (244, 150), (246, 210), (222, 212)]), WHITE, alpha=0.25, blur=9, clip=body)
        canvas.line([(116, 140), (284, 140)], shade(colour, -0.4), 2, clip=body)
        for x in (154, 246):
            canvas.fill(box(x - 7, 118, x + 7, 152, 3), down(second, 0.2, -0.3))
            canvas.disc(x, 146, 3.6, ball((232, 194, 96)))
        canvas.fill(box(188, 132, 212, 158, 4), Gradient(((0, (250, 222, 140)), (1, (164, 120, 40)))))
        canvas.disc(200, 146, 4, (96, 70, 24))
        return
    canvas.line(ellipse(200, 62, 24, 22, 180, 360), shade(second, -0.2), 7)
    outline = rounded(
        [(126, 262, 22), (118, 150, 30), (138, 66, 44), (200, 50, 50), (262, 66, 44), (282, 150, 30), (274, 262, 22)]
    )
    canvas.fill(spline([(128, 120), (104, 150), (100, 220), (116, 252), (130, 240)]), down(shade(colour, -0.3)))
    canvas.fill(spline([(272, 120), (296, 150), (300, 220), (284, 252), (270, 240)]), down(shade(colour, -0.45)))
    canvas.fill(outline, cylinder(colour, 0.6))
    body = canvas.mask(outline)
    canvas.line(ellipse(200, 152, 76, 82, 185, 355), shade(second, -0.15), 4, clip=body)
    canvas.fill(box(146, 84, 254, 130, 16), down(shade(colour, -0.1), 0.25, -0.2), clip=body)
    pocket = rounded([(140, 250, 16), (138, 178, 14), (262, 178, 14), (260, 250, 16)])
    canvas.fill([(x + 1, y + 4) for x, y in pocket], BLACK, alpha=0.4, blur=4, clip=body)
    canvas.fill(pocket, down(second, 0.2, -0.25))
    canvas.line([(148, 190), (252, 190)], shade(second, -0.5), 2.4)
    for x in (164, 236):
        canvas.fill(box(x - 5, 132, x + 5, 196, 2), down(shade(second, -0.4)))
        canvas.fill(box(x - 8, 160, x + 8, 174, 3), down(CHROME))
    canvas.fill(box(180, 208, 220, 230, 4), shade(second, 0.55))


def watch(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint a wrist watch with hands, or a square smart watch; lying flat."""
    strap = rounded(
        [
            (166, 12, 10),
            (234, 12, 10),
            (246, 100, 6),
            (246, 200, 6),
            (234, 288, 10),
            (166, 288, 10),
            (154, 200, 6),
            (154, 100, 6),
        ]
    )
    canvas.fill(strap, cylinder(colour, 0.7))
    if design == 0:
        for x in (163, 237):
            canvas.line([(x, 20), (x, 280)], shade(colour, 0.5), 1.2, alpha=0.7)
        for y in (234, 246, 258, 270):
            canvas.disc(200, y, 2.6, BLACK, alpha=0.8)
        canvas.fill(box(270, 142, 286, 158, 3), down(CHROME))
        canvas.disc(200, 150, 78, Gradient(((0, (246, 248, 250)), (0.5, (150, 154, 160)), (1, (90, 94, 100)))))
        canvas.disc(200, 150, 70, Gradient(((0, (90, 92, 98)), (1, (220, 224, 228)))))
        canvas.disc(200, 150, 66, ball(second, 0.2, -0.25))
        ink = WHITE if sum(second) < 400 else BLACK
        for i in range(60):
            inner = 54 if i % 5 == 0 else 60
            mark = turned([(200 + inner, 150), (263, 150)], i * 6, (200, 150))
            canvas.line(mark, ink, 3.2 if i % 5 == 0 else 1, alpha=0.9)
        canvas.disc(200, 180, 15, shade(second, -0.2))
        canvas.line(ellipse(200, 180, 15, 15), ink, 0.8, alpha=0.6)
        for angle, length, width in ((-58, 38, 5.0), (-128, 54, 3.6)):
            canvas.line(turned([(190, 150), (200 + length, 150)], angle, (200, 150)), ink, width)
        canvas.line(turned([(182, 150), (258, 150)], 38, (200, 150)), (216, 40, 40), 1.6)
        canvas.disc(200, 150, 4.4, ball(CHROME))
        canvas.fill(ellipse(178, 122, 44, 30, 0, 360), WHITE, alpha=0.16, blur=4)
        return
    canvas.fill(box(264, 132, 273, 152, 3), down(CHROME))
    canvas.fill(box(130, 76, 268, 224, 34), Gradient(((0, (210, 214, 220)), (0.5, (120, 124, 130)), (1, (70, 72, 78)))))
    canvas.fill(box(136, 82, 262, 218, 30), (10, 11, 14))
    for i, ring in enumerate((second, shade(colour, 0.3), (250, 180, 60))):
        radius = 46 - i * 12
        canvas.line(ellipse(200, 142, radius, radius), shade(ring, -0.7), 8)
        canvas.line(ellipse(200, 142, radius, radius, -90, 150 - i * 60), shade(ring, 0.15), 8)
    for i in range(4):
        canvas.fill(box(152 + i * 25, 198, 170 + i * 25, 208, 4), shade(second, 0.4 - i * 0.2))
    canvas.fill([(150, 84), (196, 84), (146, 190), (138, 190), (138, 100)], WHITE, alpha=0.1)


def guitar(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint an acoustic or an electric guitar, lying; the neck to the left."""
    canvas.fill(
        rounded([(20, 138, 6), (58, 140, 6), (60, 162, 6), (20, 164, 8), (12, 150, 4)]),
        down(shade(second, -0.3), 0.2, -0.3),
    )
    for i in range(3):
        for y in (134, 168):
            canvas.disc(27 + i * 11, y, 3.6, ball(CHROME))
    if design == 0:
        outline = spline(
            [
                (232, 150),
                (236, 112),
                (262, 96),
                (290, 108),
                (318, 92),
                (356, 86),
                (384, 112),
                (388, 150),
                (384, 188),
                (356, 214),
                (318, 208),
                (290, 192),
                (262, 204),
                (236, 188),
            ]
        )
        canvas.fill(outline, shade(second, -0.35))
        inner = [(200 + (x - 200) * 0.985 + 2, 150 + (y - 150) * 0.95) for x, y in outline]
        canvas.fill(inner, Gradient(((0, shade(colour, 0.35)), (0.6, colour), (1, shade(colour, -0.45))), "r"))
        body = canvas.mask(inner)
        for i in range(16):
            canvas.line([(225, 92 + i * 8), (395, 90 + i * 8.2)], shade(colour, -0.3), 0.7, alpha=0.25, clip=body)
        canvas.disc(286, 150, 26, shade(second, -0.1))
        canvas.disc(286, 150, 21, (26, 18, 14))
        canvas.fill(box(338, 126, 350, 174, 4), down((60, 36, 22)))
        canvas.fill(
            spline([(286, 178), (310, 168), (330, 178), (322, 196), (296, 196)]), (40, 26, 22), clip=body, alpha=0.85
        )
        strings_end = 344.0
    else:
        outline = spline(
            [
                (250, 150),
                (222, 104),
                (232, 92),
                (268, 110),
                (306, 104),
                (356, 88),
                (384, 112),
                (378, 150),
                (386, 190),
                (354, 212),
                (304, 198),
                (262, 206),
                (238, 218),
                (228, 204),
                (250, 176),
            ]
        )
        canvas.fill(outline, shade(colour, -0.5))
        inner = [(300 + (x - 300) * 0.97, 150 + (y - 150) * 0.96) for x, y in outline]
        canvas.fill(inner, Gradient(((0, shade(colour, 0.4)), (0.45, colour), (1, shade(colour, -0.35)))))
        guard = spline([(256, 158), (262, 128), (318, 126), (336, 150), (330, 184), (286, 188)])
        canvas.fill(guard, down(second, 0.2, -0.15))
        for x in (276, 300, 324):
            canvas.fill(box(x - 5, 134, x + 5, 168, 4), down((52, 52, 56)))
        canvas.fill(box(342, 134, 354, 168, 3), down(CHROME))
        for x, y in ((322, 180), (338, 186), (352, 180)):
            canvas.disc(x, y, 5, ball((230, 230, 226)))
        strings_end = 348.0
    canvas.fill(box(56, 140.5, 262, 161, 2), down((86, 56, 36), 0.2, -0.3))
    canvas.fill(box(56, 142.5, 264, 159, 1), (52, 34, 26))
    for i in range(14):
        x = 62 + 196 * (1 - math.pow(0.93, i)) / (1 - math.pow(0.93, 14))
        canvas.line([(x, 143), (x, 158.5)], CHROME, 1.2)
        if i in (3, 5, 7, 9, 12):
            canvas.disc(x - 5, 150.7, 2, (236, 232, 220))
    for i in range(6):
        canvas.line([(30 + i * 4, 144.6 + i * 2.4), (strings_end, 141 + i * 3.9)], (226, 222, 206), 0.7, alpha=0.9)


def headphones(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint headphones seen from the front, with wide or with round cups."""
    canvas.line(ellipse(200, 168, 92, 120, 184, 356), down(shade(colour, -0.1), 0.3, -0.4), 19)
    canvas.line(ellipse(200, 170, 84, 112, 200, 340), shade(second, -0.25), 7)
    canvas.line(ellipse(200, 165, 96, 124, 215, 290), WHITE, 3, alpha=0.4, blur=1.5)
    for side in (-1, 1):
        x = 200 + side * 92
        canvas.fill(box(x - 6, 140, x + 6, 190, 4), down(CHROME))
        if design == 0:
            canvas.fill(box(x - side * 4 - 22, 158, x - side * 4 + 22, 258, 18), down(shade(second, -0.5), 0.2, -0.4))
            cup = box(x + side * 16 - 20, 162, x + side * 16 + 20, 254, 20)
            canvas.fill(cup, cylinder(colour, 0.8))
            canvas.fill(box(x + side * 18 - 4, 190, x + side * 18 + 4, 226, 4), down(second, 0.3, -0.2))
            continue
        canvas.fill(ellipse(x - side * 8, 208, 34, 50), down(shade(second, -0.5), 0.2, -0.4))
        canvas.fill(ellipse(x + side * 6, 208, 38, 46), ball(colour))
        canvas.fill(ellipse(x + side * 8, 208, 25, 31), ball(shade(colour, -0.3), 0.2, -0.2))
        canvas.fill(ellipse(x + side * 8, 208, 12, 15), ball(second))


def camera(canvas: Canvas, colour: Colour, second: Colour, design: int) -> None:
    """Paint a reflex camera, or a small retro one."""
    top = 96 if design == 0 else 112
    if design == 0:
        canvas.fill(
            rounded([(160, 100, 4), (172, 62, 10), (232, 62, 10), (244, 100, 4)]), down(shade(colour, 0.1), 0.3, -0.3)
        )
        canvas.fill(box(92, 82, 130, 104, 6), down((44, 45, 50), 0.35, -0.3))
    else:
        canvas.fill(box(176, 94, 226, 118, 5), down(CHROME, 0.4, -0.2))
        canvas.fill(box(100, 102, 124, 118, 3), down(CHROME))
    canvas.fill(box(272, top - 12, 304, top + 8, 4), down(CHROME))
    outline = box(74, top, 326, 262, 18)
    canvas.fill(outline, down(colour, 0.25, -0.4))
    body = canvas.mask(outline)
    if design == 1:
        canvas.fill(box(70, top, 330, top + 34), down(CHROME, 0.55, -0.1), clip=body)
        canvas.fill(box(70, 246, 330, 270), down(CHROME, 0.3, -0.3), clip=body)
    for i in range(44):
        y = top + 40 + (i % 11) * 12
        canvas.line([(76 + (i // 11) * 66, y), (130 + (i // 11) * 66, y)], BLACK, 1, alpha=0.12, clip=body)
    canvas.fill(box(74, top, 112, 262, 12), BLACK, alpha=0.25, clip=body)
    for radius, paint in (
        (74, ball((60, 62, 66), 0.3, -0.4)),
        (66, Gradient(((0, (96, 98, 104)), (0.5, (30, 31, 34)), (1, (70, 72, 76))))),
        (55, (18, 18, 22)),
        (46, ball((40, 48, 70), 0.1, -0.5)),
        (33, Gradient(((0, (120, 90, 170)), (0.5, (36, 52, 110)), (1, (12, 16, 30))))),
        (17, (8, 10, 18)),
    ):
        canvas.disc(202, 186, radius, paint)
    canvas.line(ellipse(202, 186, 60, 60), second, 3)
    canvas.fill(ellipse(186, 166, 17, 11), WHITE, alpha=0.55, blur=2)
    canvas.disc(220, 208, 6, (170, 220, 240), alpha=0.5, blur=1)
    canvas.fill(box(284, top + 14, 312, top + 26, 4), ball((250, 244, 210), 0.5, -0.2))
    canvas.disc(100, top + 22, 5, (210, 44, 40))
