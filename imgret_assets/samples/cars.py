"""Cars of the drawn sample images.

Belongs here: painting lacquer, glass, wheels, trim. Not here: the shapes (`car_shapes`), the ground (`scenes`).
"""

from PIL import Image

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
    down,
    ellipse,
    rounded,
    scaled,
    shade,
    spline,
    turned,
)
from imgret_assets.samples.car_shapes import GROUND, Car

_GLASS = Gradient(((0, (58, 76, 92)), (0.45, (104, 128, 146)), (0.55, (44, 58, 70)), (1, (26, 34, 42))))


_LAMP_RED: Colour = (196, 24, 30)


def draw_car(canvas: Canvas, car: Car, colour: Colour) -> None:
    """Paint a car in a colour."""
    outline = rounded(car.profile)
    body = canvas.mask(outline)
    _underbody(canvas, car)
    _attachments(canvas, car, colour)
    top = min(y for _, y in outline)
    belt_at = (car.belt - top) / (max(y for _, y in outline) - top)
    canvas.fill(outline, _lacquer(colour, belt_at))
    _coachwork(canvas, car, colour, body)
    _trim(canvas, car, colour, body)
    for window in car.windows:
        _window(canvas, window)
    _lamps(canvas, car, body)
    _mirror_and_handles(canvas, car, colour)
    for x in car.wheels[:2]:
        _arch(canvas, car, x, body)
        draw_wheel(canvas, (x, GROUND - car.wheels[2]), car.wheels[2], car.rim)


def draw_wheel(canvas: Canvas, centre: Point, radius: float, rim: str) -> None:
    """Paint a tyre on a rim of the given style."""
    cx, cy = centre
    canvas.disc(cx, cy, radius, Gradient(((0, (60, 60, 62)), (0.8, (36, 36, 38)), (1, (16, 16, 18))), "r"))
    canvas.line(ellipse(cx, cy, radius * 0.86, radius * 0.86, 190, 320), (110, 110, 114), 0.8, alpha=0.7)
    r = radius * 0.7
    canvas.disc(cx, cy, r, down((168, 172, 178), 0.4, -0.35))
    canvas.disc(cx, cy, r * 0.9, (30, 31, 34) if rim != "steel" else (150, 154, 160))
    canvas.disc(cx, cy, r * 0.55, Gradient(((0, (120, 120, 124)), (1, (70, 72, 76)))))
    if rim == "steel":
        for angle in range(0, 360, 45):
            hole = turned([(cx + r * 0.68, cy)], angle, centre)[0]
            canvas.disc(*hole, r * 0.13, (34, 35, 38))
    else:
        count, width = {"five": (5, 0.2), "multi": (10, 0.1), "turbine": (6, 0.26)}[rim]
        for i in range(count):
            lean = 0.16 * r if rim == "turbine" else 0.0
            w = width * r
            spoke = [
                (cx, cy - w * 0.8),
                (cx + r * 0.95, cy - w + lean),
                (cx + r * 0.95, cy + w + lean),
                (cx, cy + w * 0.8),
            ]
            canvas.fill(turned(spoke, 360 / count * i - 90, centre), down((206, 210, 214), 0.5, -0.3))
    canvas.disc(cx, cy, r * 0.24, ball((190, 194, 200)))
    canvas.disc(cx, cy, r * 0.1, (60, 62, 66))


def _lacquer(colour: Colour, belt: float) -> Gradient:
    """Return lacquer outdoors: bright at the top, a reflected horizon below the belt line, dark near the ground."""
    light, dark = (0.5, -0.12) if sum(colour) > 150 else (0.32, 0.06)
    return Gradient(
        (
            (0, shade(colour, light)),
            (belt * 0.5, shade(colour, 0.12)),
            (belt, shade(colour, 0.3)),
            (belt + (1 - belt) * 0.18, colour),
            (belt + (1 - belt) * 0.45, shade(colour, dark)),
            (belt + (1 - belt) * 0.5, shade(colour, 0.1)),
            (belt + (1 - belt) * 0.75, shade(colour, -0.25)),
            (1, shade(colour, -0.55)),
        )
    )


def _underbody(canvas: Canvas, car: Car) -> None:
    front, rear, radius = car.wheels
    y = GROUND - radius
    canvas.fill(box(front - radius, y - 2, rear + radius, GROUND - radius * 0.35, 4), (18, 18, 20))


def _attachments(canvas: Canvas, car: Car, colour: Colour) -> None:
    """Paint the parts behind the body: rails on the roof, a spoiler, the air conditioning of a bus, a tarpaulin."""
    roof = min(y for _, y, _ in car.profile)
    xs = [x for x, y, _ in car.profile if y < roof + 8]
    if "rails" in car.extras:
        canvas.line(
            [(min(xs) + 22, roof + 2), (min(xs) + 30, roof - 3), (max(xs) - 24, roof - 3), (max(xs) - 16, roof + 2)],
            CHROME,
            2,
        )
    if "spoiler" in car.extras:
        rear = car.profile[8]
        canvas.fill(
            rounded(
                [
                    (rear[0] - 34, rear[1] - 17, 3),
                    (rear[0] + 6, rear[1] - 22, 2),
                    (rear[0] + 7, rear[1] - 17, 2),
                    (rear[0] - 30, rear[1] - 12, 3),
                ]
            ),
            shade(colour, -0.2),
        )
        canvas.fill(
            [
                (rear[0] - 20, rear[1] - 16),
                (rear[0] - 12, rear[1] - 16),
                (rear[0] - 8, rear[1] + 2),
                (rear[0] - 20, rear[1] + 2),
            ],
            shade(colour, -0.5),
        )
    if "ladder" in car.extras:
        canvas.fill(box(120, roof - 9, 190, roof + 2, 4), down((214, 218, 222)))
        canvas.fill(box(250, roof - 7, 300, roof + 2, 4), down((204, 208, 212)))
    if "tarp" in car.extras:
        left, right, y = car.doors[-1] + 5, max(x for x, _, _ in car.profile) - 6, car.belt - 2
        canvas.fill(
            rounded([(left, y + 4, 1), (left + 2, y - 42, 12), (right - 4, y - 42, 14), (right, y + 4, 1)]),
            down(car.second, 0.3, -0.35),
        )
        for i in range(1, 4):
            x = left + (right - left) * i / 4
            canvas.line([(x, y - 40), (x, y)], shade(car.second, -0.4), 1, alpha=0.6)


def _coachwork(canvas: Canvas, car: Car, colour: Colour, body: Image.Image) -> None:
    """Paint second colours, sills, gaps and creases."""
    left, right = min(x for x, _, _ in car.profile), max(x for x, _, _ in car.profile)
    bottom = max(y for _, y, _ in car.profile)
    if "roof" in car.extras:
        canvas.fill(box(left, 0, right, min(y for _, y, _ in car.profile) + 8), down(car.second, 0.2, -0.1), clip=body)
    if "stripe" in car.extras:
        canvas.fill(box(left, car.belt + 8, right, car.belt + 24), down(car.second, 0.2, -0.2), clip=body)
    if "panel" in car.extras:
        sign = [(186.0, car.belt - 8), (346.0, car.belt - 34), (346.0, car.belt - 14), (186.0, car.belt + 12)]
        canvas.fill(sign, car.second, clip=body, alpha=0.95)
        canvas.disc(226, car.belt - 34, 15, car.second, alpha=0.95)
        canvas.disc(226, car.belt - 34, 8, shade(colour, 0.3))
    for gap in car.doors:
        canvas.line(
            [(gap, car.belt - 2), (gap + 1, car.belt + 24), (gap - 2, bottom - 12)], BLACK, 0.9, alpha=0.5, clip=body
        )
        canvas.line(
            [(gap + 1.2, car.belt), (gap + 2.2, car.belt + 24), (gap - 0.8, bottom - 12)],
            WHITE,
            0.6,
            alpha=0.25,
            clip=body,
        )
    crease = car.belt + 13
    canvas.line(
        [(left + 22, crease + 9), (left + 90, crease + 2), (right - 6, crease)],
        BLACK,
        1.6,
        alpha=0.3,
        blur=0.7,
        clip=body,
    )
    canvas.line(
        [(left + 22, crease + 11), (left + 90, crease + 4), (right - 6, crease + 2)],
        WHITE,
        1.3,
        alpha=0.5,
        blur=0.5,
        clip=body,
    )
    canvas.line([(left + 10, car.belt + 3), (right - 10, car.belt + 3)], WHITE, 3.4, alpha=0.4, blur=2.2, clip=body)
    canvas.fill(box(left, bottom - 8, right, bottom + 4), (24, 25, 28), clip=body, alpha=0.9)


def _trim(canvas: Canvas, car: Car, colour: Colour, body: Image.Image) -> None:
    """Paint bumpers, the plastic cladding of off-road cars and the doors of a bus."""
    left, right = min(x for x, _, _ in car.profile), max(x for x, _, _ in car.profile)
    bottom = max(y for _, y, _ in car.profile)
    canvas.fill(box(left - 2, bottom - 24, left + 17, bottom - 14, 4), (26, 27, 30), clip=body, alpha=0.85)
    canvas.line([(left, bottom - 28), (left + 34, bottom - 30)], BLACK, 0.9, alpha=0.4, clip=body)
    canvas.line([(right, bottom - 30), (right - 30, bottom - 32)], BLACK, 0.9, alpha=0.4, clip=body)
    if "cladding" in car.extras:
        canvas.fill(box(left, bottom - 17, right, bottom + 4), down((52, 54, 58), 0.1, -0.4), clip=body)
        for x in car.wheels[:2]:
            r = car.wheels[2]
            canvas.fill(ellipse(x, GROUND - r, r * 1.32, r * 1.32), down((56, 58, 62), 0.15, -0.3), clip=body)
    if "ladder" in car.extras:
        for x0, x1 in ((64, 84), (85, 105)):
            canvas.fill(box(x0, 72, x1, bottom - 6, 3), shade(colour, -0.4))
            canvas.fill(box(x0 + 2.5, 76, x1 - 2.5, bottom - 12, 2), _GLASS)


def _window(canvas: Canvas, window: tuple[Point, ...]) -> None:
    shape = rounded([(x, y, 4.0) for x, y in window])
    x0, x1 = min(x for x, _ in window), max(x for x, _ in window)
    y0, y1 = min(y for _, y in window), max(y for _, y in window)
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    canvas.fill(scaled(shape, 1 + 4.4 / (x1 - x0), 1 + 4.4 / (y1 - y0), middle), (16, 17, 20))
    canvas.fill(shape, _GLASS)
    pane = canvas.mask(shape)
    seat = spline(
        [
            (x0 + (x1 - x0) * 0.55, y1),
            (x0 + (x1 - x0) * 0.6, y0 + 16),
            (x0 + (x1 - x0) * 0.76, y0 + 14),
            (x0 + (x1 - x0) * 0.84, y1),
        ]
    )
    canvas.fill(seat, (22, 26, 30), alpha=0.7, clip=pane)
    height = y1 - y0
    for start, width, alpha in ((0.14, 12.0, 0.34), (0.5, 4.0, 0.26)):
        x = x0 + (x1 - x0) * start
        canvas.fill(
            [(x + height * 0.5, y0), (x + width + height * 0.5, y0), (x + width, y1), (x, y1)],
            WHITE,
            alpha=alpha,
            clip=pane,
        )


def _lamps(canvas: Canvas, car: Car, body: Image.Image) -> None:
    left, right = min(x for x, _, _ in car.profile), max(x for x, _, _ in car.profile)
    head, tail = car.lamps
    lens = spline(
        [
            (left - 2, head + 2),
            (left + 16, head - 7),
            (left + 36, head - 7),
            (left + 30, head + 4),
            (left + 6, head + 8),
        ]
    )
    canvas.fill(lens, Gradient(((0, (236, 242, 248)), (0.5, (176, 190, 204)), (1, (230, 236, 240)))), clip=body)
    canvas.line([*lens, lens[0]], (40, 42, 48), 0.9, alpha=0.7, clip=body)
    canvas.disc(left + 19, head, 4.2, ball((250, 252, 255), 0.5, -0.25))
    light = rounded(
        [(right + 4, tail - 7, 2), (right - 17, tail - 7, 5), (right - 12, tail + 10, 5), (right + 4, tail + 10, 2)]
    )
    canvas.fill(light, Gradient(((0, (236, 60, 56)), (0.5, _LAMP_RED), (1, (120, 10, 18)))), clip=body)
    canvas.line([(right - 13, tail - 2), (right, tail - 2)], (255, 190, 180), 1.2, alpha=0.8, clip=body)


def _mirror_and_handles(canvas: Canvas, car: Car, colour: Colour) -> None:
    x, y = car.windows[0][0]
    mirror = spline([(x + 4, y - 2), (x + 6, y - 11), (x + 15, y - 12), (x + 18, y - 4), (x + 12, y)])
    canvas.fill(mirror, down(shade(colour, -0.05), 0.45, -0.4))
    for gap in car.doors[1:]:
        canvas.fill(box(gap - 18, car.belt + 6, gap - 4, car.belt + 9.4, 1.6), down(shade(colour, 0.1), 0.6, -0.5))
        canvas.line([(gap - 18, car.belt + 10.2), (gap - 4, car.belt + 10.2)], BLACK, 0.8, alpha=0.35)


def _arch(canvas: Canvas, car: Car, x: float, body: Image.Image) -> None:
    r = car.wheels[2]
    canvas.line(ellipse(x, GROUND - r, r * 1.17, r * 1.17, 180, 360), WHITE, 1.2, alpha=0.3, clip=body)
    canvas.fill(ellipse(x, GROUND - r, r * 1.13, r * 1.13), (12, 12, 14), clip=body)
