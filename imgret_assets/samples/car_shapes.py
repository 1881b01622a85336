"""Shapes of the drawn cars: eight body types in side view, front to the left.

Belongs here: outlines and measures. Not here: painting (`cars`).
"""

from dataclasses import dataclass, replace

from imgret_assets.samples.canvas import (
    WHITE,
    Colour,
    Corner,
    Point,
    box,
)

GROUND = 234.0


@dataclass(frozen=True)
class Car:
    """One car design, in units.

    Attributes:
        profile: outline of body and cabin with corner radii, from the lower front corner over the roof.
        windows: outlines of the side windows, front window first.
        doors: x of the door gaps.
        wheels: x of the two axles, and the radius of the wheels.
        belt: y of the line under the windows.
        lamps: y of head lamp and tail lamp.
        rim: one of `five`, `multi`, `steel`, `turbine`.
        extras: any of `roof` (second colour), `stripe`, `rails`, `cladding`, `spoiler`, `ladder`, `panel`, `tarp`.
        second: colour of roof, stripe or panel.
    """

    profile: tuple[Corner, ...]
    windows: tuple[tuple[Point, ...], ...]
    doors: tuple[float, ...]
    wheels: tuple[float, float, float]
    belt: float
    lamps: tuple[float, float]
    rim: str = "five"
    extras: tuple[str, ...] = ()
    second: Colour = WHITE

    def stretched(self, kx: float, ky: float) -> "Car":
        """Return the car stretched by `kx` in length and `ky` in height; its wheels stay round."""

        def x(value: float) -> float:
            return 200 + (value - 200) * kx

        def y(value: float) -> float:
            return GROUND + (value - GROUND) * ky

        return replace(
            self,
            profile=tuple((x(px), y(py), r) for px, py, r in self.profile),
            windows=tuple(tuple((x(px), y(py)) for px, py in window) for window in self.windows),
            doors=tuple(x(door) for door in self.doors),
            wheels=(x(self.wheels[0]), x(self.wheels[1]), self.wheels[2] * (0.5 + ky / 2)),
            belt=y(self.belt),
            lamps=(y(self.lamps[0]), y(self.lamps[1])),
        )


CARS: dict[str, Car] = {
    "hatchback": Car(
        profile=(
            (58, 216, 5),
            (48, 198, 8),
            (50, 180, 12),
            (66, 164, 18),
            (138, 150, 26),
            (190, 107, 34),
            (288, 104, 28),
            (334, 142, 20),
            (347, 156, 8),
            (352, 190, 12),
            (345, 216, 6),
        ),
        windows=(
            ((150, 149), (193, 114), (233, 111), (233, 147)),
            ((240, 111), (285, 111), (318, 138), (308, 146), (240, 147)),
        ),
        doors=(142, 237, 304),
        wheels=(107, 297, 29),
        belt=151,
        lamps=(174, 163),
    ),
    "sedan": Car(
        profile=(
            (40, 216, 5),
            (31, 198, 8),
            (34, 182, 12),
            (50, 168, 18),
            (134, 154, 26),
            (184, 117, 34),
            (258, 114, 34),
            (312, 149, 26),
            (364, 154, 12),
            (370, 182, 12),
            (365, 216, 6),
        ),
        windows=(
            ((147, 154), (187, 123), (222, 120), (222, 151)),
            ((228, 120), (258, 121), (297, 149), (228, 151)),
        ),
        doors=(140, 225, 290),
        wheels=(97, 313, 28),
        belt=156,
        lamps=(178, 166),
    ),
    "estate": Car(
        profile=(
            (38, 216, 5),
            (30, 198, 8),
            (33, 180, 12),
            (50, 166, 18),
            (128, 152, 24),
            (176, 112, 32),
            (326, 109, 26),
            (357, 148, 18),
            (366, 162, 8),
            (369, 190, 12),
            (364, 216, 6),
        ),
        windows=(
            ((141, 151), (179, 119), (214, 116), (214, 149)),
            ((220, 116), (266, 115), (270, 149), (220, 149)),
            ((277, 115), (322, 117), (342, 143), (336, 148), (280, 149)),
        ),
        doors=(134, 217, 274),
        wheels=(96, 310, 28),
        belt=154,
        lamps=(176, 164),
        extras=("rails",),
    ),
    "suv": Car(
        profile=(
            (48, 208, 6),
            (40, 188, 8),
            (42, 162, 12),
            (54, 146, 16),
            (128, 136, 20),
            (170, 86, 26),
            (318, 83, 24),
            (346, 126, 16),
            (356, 142, 8),
            (359, 180, 12),
            (354, 208, 8),
        ),
        windows=(
            ((142, 134), (174, 94), (214, 91), (214, 132)),
            ((221, 91), (272, 91), (278, 132), (221, 132)),
            ((284, 91), (313, 92), (334, 126), (328, 132), (290, 132)),
        ),
        doors=(134, 217, 281),
        wheels=(104, 300, 36),
        belt=138,
        lamps=(158, 148),
        extras=("cladding", "rails"),
        rim="turbine",
    ),
    "pickup": Car(
        profile=(
            (38, 206, 6),
            (31, 186, 8),
            (33, 160, 10),
            (44, 147, 14),
            (116, 139, 16),
            (154, 91, 22),
            (234, 89, 18),
            (250, 137, 4),
            (376, 138, 6),
            (380, 180, 8),
            (376, 206, 6),
        ),
        windows=(
            ((128, 137), (159, 98), (192, 96), (192, 135)),
            ((198, 96), (229, 96), (240, 135), (198, 135)),
        ),
        doors=(122, 195, 246),
        wheels=(94, 314, 36),
        belt=141,
        lamps=(160, 156),
        extras=("cladding",),
    ),
    "van": Car(
        profile=(
            (40, 214, 6),
            (32, 192, 8),
            (35, 164, 14),
            (62, 142, 16),
            (104, 86, 26),
            (136, 68, 20),
            (360, 64, 14),
            (370, 80, 8),
            (372, 190, 8),
            (368, 214, 6),
        ),
        windows=(((84, 138), (116, 92), (152, 88), (152, 136)),),
        doors=(76, 160, 262),
        wheels=(96, 310, 29),
        belt=142,
        lamps=(170, 158),
        rim="steel",
        extras=("panel",),
    ),
    "sports": Car(
        profile=(
            (34, 217, 4),
            (22, 204, 6),
            (28, 188, 12),
            (56, 172, 26),
            (144, 160, 30),
            (202, 127, 40),
            (252, 124, 40),
            (318, 152, 36),
            (368, 158, 10),
            (377, 176, 8),
            (370, 217, 6),
        ),
        windows=(((160, 159), (204, 133), (246, 131), (282, 152), (262, 158)),),
        doors=(152, 262),
        wheels=(104, 314, 29),
        belt=162,
        lamps=(184, 168),
        extras=("spoiler",),
        rim="multi",
    ),
    "bus": Car(
        profile=(
            (18, 212, 5),
            (14, 190, 6),
            (15, 118, 10),
            (23, 66, 14),
            (40, 54, 12),
            (374, 54, 12),
            (387, 68, 8),
            (388, 190, 6),
            (385, 212, 5),
        ),
        windows=(
            ((22, 132), (28, 76), (56, 74), (56, 132)),
            *(tuple(box(x, 76, x + 44, 130, 4)) for x in (116, 164, 212, 260, 308)),
        ),
        doors=(),
        wheels=(96, 300, 27),
        belt=138,
        lamps=(184, 180),
        rim="steel",
        extras=("stripe", "ladder"),
    ),
}
