"""The designs of the drawn catalogue, and drawing the images of one design.

Belongs here: the designs, their colours, and the variants of a design. Not here: shapes (`cars`, `goods`, `household`,
`outdoors`), backgrounds (`scenes`), folders (`folders`).
"""

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image

from imgret_assets.samples import cars, goods, outdoors
from imgret_assets.samples import household as home
from imgret_assets.samples.camera import Backdrop, Pose, develop, photograph
from imgret_assets.samples.canvas import Canvas, Colour, Point
from imgret_assets.samples.car_shapes import CARS, Car
from imgret_assets.samples.car_shapes import GROUND as ROAD
from imgret_assets.samples.scenes import SCENES, plain, studio

SCALE = 3.2
NEW_ARRIVALS = "new-arrivals"
# Products with a query image outside of the collection, and the scene of that image.
_QUERY_SCENES = {
    "robin": "street",
    "ibex": "forest",
    "swift": "showroom",
    "sprint": "cafe",
    "aria": "kitchen",
    "cottage": "hills",
}

_C: dict[str, Colour] = {
    "red": (190, 34, 42), "blue": (38, 88, 164), "navy": (34, 48, 84), "white": (232, 234, 234),
    "black": (44, 46, 50), "green": (34, 112, 82), "yellow": (240, 184, 46), "orange": (224, 98, 34),
    "silver": (168, 174, 180), "teal": (30, 138, 144), "purple": (112, 62, 138), "pink": (226, 128, 152),
    "brown": (118, 76, 48), "tan": (198, 152, 102), "cream": (238, 226, 200), "olive": (112, 118, 66),
    "mint": (150, 206, 184), "sky": (116, 178, 222), "wine": (112, 28, 48), "grey": (112, 118, 126),
}  # fmt: skip

_PAPERS: tuple[Colour, ...] = (
    (214, 218, 224), (196, 212, 226), (232, 214, 192), (206, 222, 204), (226, 206, 214), (92, 98, 108),
    (240, 222, 150), (150, 184, 204), (186, 160, 140), (120, 150, 136), (238, 238, 236), (176, 166, 200),
)  # fmt: skip
_PLAINS: tuple[Colour, ...] = ((255, 255, 255), (246, 244, 240), (226, 232, 238), (34, 36, 40), (250, 232, 206))
_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
_SIZES = ((560, 420), (480, 360), (540, 360), (400, 300), (512, 384), (576, 432), (440, 330))

Painter = Callable[[Canvas, Colour, Colour], None]


@dataclass(frozen=True)
class Design:
    """One product of the catalogue: a family of images.

    Attributes:
        label: folder of its images, such as `cars/hatchback`.
        name: prefix of its file names; unique.
        paint: draws the product in a main and a second colour.
        colours: pairs of main and second colour, by name.
        scenes: names in SCENES.
        ground: y on which it stands, in units; None for a product that lies flat.
    """

    label: str
    name: str
    paint: Painter
    colours: tuple[tuple[str, str], ...]
    scenes: tuple[str, ...]
    ground: float | None


@dataclass(frozen=True)
class SampleImage:
    """One image: its place in the catalogue and the bytes of its file.

    Attributes:
        path: POSIX path, relative to the catalogue.
        label: the folder.
        family: the design's name.
        variant: how it was made: `studio`, `plain`, `colour`, `angle`, `scene-1`, `scene-2`, `crop`, `recompressed`,
            `copy`. A `query` is not part of the collection and its path has no folder.
        copy_of: path of the image it was made from; empty for an original.
        data: the encoded image.
    """

    path: str
    label: str
    family: str
    variant: str
    copy_of: str
    data: bytes


def _car_designs() -> list[Design]:
    places = ("street", "hills", "beach", "dusk", "showroom", "snow", "desert", "forest")
    table: tuple[tuple[str, str, Car, str], ...] = tuple(
        (body, name, car, colours)
        for body, (first, first_colours, second, change, second_colours) in {
            "hatchback": ("robin", "red/white sky/black", "wren", ("roof", "stripe"), "yellow/black mint/white"),
            "sedan": ("falcon", "blue/white silver/black", "heron", (), "wine/black white/black"),
            "estate": ("stork", "green/white grey/black", "crane", ("roof",), "tan/brown navy/silver"),
            "suv": (
                "bison",
                "black/silver orange/white",
                "ibex",
                ("roof", "cladding", "rails"),
                "teal/white red/black",
            ),
            "pickup": ("mule", "green/white silver/black", "ox", ("tarp",), "blue/tan black/olive"),
            "van": ("pelican", "yellow/white white/red", "puffin", ("stripe", "rails"), "sky/navy olive/cream"),
            "sports": ("swift", "orange/black white/black", "kestrel", ("stripe",), "red/white purple/silver"),
            "bus": ("whale", "grey/white red/cream", "orca", ("stripe", "roof", "ladder"), "teal/yellow cream/blue"),
        }.items()
        for name, car, colours in (
            (first, CARS[body], first_colours),
            (second, _second_car(body, change), second_colours),
        )
    )
    return [
        Design(
            f"cars/{body}", name, partial(_paint_car, car), _pairs(colours),
            (places[i % 8], places[i % 8]), ROAD,
        )
        for i, (body, name, car, colours) in enumerate(table)
    ]  # fmt: skip


def _second_car(body: str, extras: tuple[str, ...]) -> Car:
    car = CARS[body]
    kx, ky = (0.97, 1.05) if body == "sports" else (0.93, 1.12)
    rims = {"five": "multi", "multi": "turbine", "turbine": "five", "steel": "five"}
    return replace(car.stretched(kx, ky), extras=extras, rim=rims[car.rim])


def _paint_car(car: Car, canvas: Canvas, colour: Colour, second: Colour) -> None:
    cars.draw_car(canvas, replace(car, second=second), colour)


def _pairs(colours: str) -> tuple[tuple[str, str], ...]:
    return tuple((pair.split("/")[0], pair.split("/")[1]) for pair in colours.split())


_THINGS: tuple[tuple[str, Callable[[Canvas, Colour, Colour, int], None], str, str, str, str, str], ...] = (
    ("shoes", goods.shoe, "sprint", "red/white sky/navy", "trail", "brown/tan navy/cream", "street room"),
    ("bags", goods.bag, "avenue", "cream/red teal/brown", "summit", "black/orange olive/tan", "room cafe"),
    ("watches", goods.watch, "meridian", "brown/cream black/navy", "pulse", "green/sky pink/purple", "table_top stone"),
    ("guitars", goods.guitar, "canyon", "tan/brown wine/cream", "comet", "sky/white red/black", "table_top stone"),
    ("headphones", goods.headphones, "aria", "white/red navy/tan", "bass", "black/orange mint/white", "cafe room"),
    ("cameras", goods.camera, "reflex", "black/red grey/yellow", "retro", "tan/brown teal/black", "cafe kitchen"),
    ("umbrellas", outdoors.umbrella, "drizzle", "red/cream pink/red", "parade", "blue/white green/tan", "lawn beach"),
    ("mugs", home.mug, "morning", "cream/red sky/navy", "saucer", "navy/yellow mint/pink", "kitchen cafe"),
    ("bottles", home.bottle, "vineyard", "green/wine brown/yellow", "flask", "orange/black sky/white", "kitchen lawn"),
    ("teapots", home.teapot, "granny", "red/cream white/blue", "moka", "teal/yellow black/silver", "kitchen cafe"),
    ("chairs", home.chair, "orchard", "cream/brown red/white", "desk", "black/red teal/grey", "room lawn"),
    ("lamps", home.lamp, "parlour", "green/brown cream/blue", "elbow", "yellow/teal red/black", "room room"),
    ("sofas", home.sofa, "lounge", "grey/yellow teal/orange", "reader", "wine/cream tan/navy", "room room"),
    ("plants", home.plant, "agave", "orange/cream sky/white", "blossom", "white/pink brown/yellow", "room lawn"),
    ("bikes", outdoors.bike, "tour", "teal/black red/black", "market", "cream/brown mint/tan", "hills street"),
    ("houses", outdoors.house, "cottage", "red/brown cream/teal", "villa", "white/grey sky/brown", "lawn hills"),
    ("clocks", home.clock, "station", "black/black red/navy", "rooster", "teal/yellow silver/red", "stone kitchen"),
)  # fmt: skip
_FLAT = frozenset({"watches", "guitars", "station"})


def designs() -> list[Design]:
    """Return all products, cars first."""
    products = _car_designs()
    for label, paint, first, first_colours, second, second_colours, scenes in _THINGS:
        for design, name, colours in ((0, first, first_colours), (1, second, second_colours)):
            flat = label in _FLAT or name in _FLAT
            scene = tuple(scenes.split())
            if name == "station":
                scene = ("stone", "table_top")
            products.append(
                Design(
                    label, name, partial(_paint_thing, paint, design), _pairs(colours),
                    scene if design == 0 else scene[::-1], None if flat else goods.GROUND,
                )
            )  # fmt: skip
    return products


def _paint_thing(
    paint: Callable[[Canvas, Colour, Colour, int], None], design: int, canvas: Canvas, colour: Colour, second: Colour
) -> None:
    paint(canvas, colour, second, design)


def draw_family(design: Design, number: int) -> list[SampleImage]:
    """Draw all images of one product; the bytes are the same every time.

    Args:
        design: the product.
        number: its index in `designs()`, which varies papers, sizes and formats.
    """
    rng = np.random.default_rng(zlib.crc32(design.name.encode()))
    products = [_product(design, colours) for colours in design.colours]
    papers = [_PAPERS[(number * 5 + i * 3) % len(_PAPERS)] for i in range(3)]

    def take(backdrop: Backdrop, pose: Pose, *, colour: int = 0, size: int = 0) -> Image.Image:
        photo = photograph(products[colour], design.ground, backdrop, pose)
        return develop(photo, _SIZES[(number + size) % len(_SIZES)], rng)

    first = take(studio(papers[0], rng), Pose(zoom=rng.uniform(0.9, 0.98)))
    original = _encoded(design, "studio", first)
    blank = plain(_PLAINS[number % len(_PLAINS)], rng)
    catalogue = take(blank, Pose(zoom=rng.uniform(0.82, 0.95)), size=1)
    images = [original, _encoded(design, "plain", catalogue, "PNG" if number % 6 == 0 else "JPEG")]
    repainted = take(studio(papers[1], rng), Pose(zoom=rng.uniform(0.88, 0.96)), colour=1, size=2)
    images.append(_encoded(design, "colour", repainted))
    turned = take(studio(papers[2], rng), _turned(design, rng), size=3)
    images.append(_encoded(design, "angle", turned, "WEBP" if number % 5 == 0 else "JPEG"))
    outings = 2 if design.label.startswith("cars/") else 1
    for i, scene in enumerate(design.scenes[:outings]):
        pose = Pose(
            mirror=bool((number + i) % 2),
            zoom=rng.uniform(*_zoom_range(design)),
            shift=(rng.uniform(-8, 8), 6.0 + 2 * i),
        )
        images.append(_encoded(design, f"scene-{i + 1}", take(SCENES[scene](rng), pose, colour=i, size=4 + i)))
    images.append(_encoded(design, "crop", _cropped(first, rng), copy_of=original.path))
    if number % 2 == 0:
        images.append(_encoded(design, "recompressed", first, quality=40, copy_of=original.path))
    if design.name in _QUERY_SCENES:
        query = take(SCENES[_QUERY_SCENES[design.name]](rng), _turned(design, rng), size=6)
        images.append(replace(_encoded(design, "query", query), path=f"{design.name}.jpg"))
    return images + _exact_duplicates(original, images[1], number)


def _encoded(
    design: Design,
    variant: str,
    image: Image.Image,
    file_format: str = "JPEG",
    *,
    quality: int = 88,
    copy_of: str = "",
) -> SampleImage:
    data = io.BytesIO()
    image.save(data, file_format, quality=quality)
    path = f"{design.label}/{design.name}-{variant}.{_SUFFIXES[file_format]}"
    return SampleImage(path, design.label, design.name, variant, copy_of, data.getvalue())


def _exact_duplicates(studio_image: SampleImage, plain_image: SampleImage, number: int) -> list[SampleImage]:
    """Return exact duplicates: with another name in the same folder, or in the folder of new arrivals."""
    duplicates = []
    if number % 4 == 1:
        path = f"{studio_image.label}/{studio_image.family}-copy.jpg"
        duplicates.append(replace(studio_image, path=path, variant="copy", copy_of=studio_image.path))
    if number % 24 == 3:
        path = f"{NEW_ARRIVALS}/img-{4200 + number}.{plain_image.path.rpartition('.')[2]}"
        duplicates.append(replace(plain_image, path=path, label=NEW_ARRIVALS, variant="copy", copy_of=plain_image.path))
    return duplicates


def _product(design: Design, colours: tuple[str, str]) -> Image.Image:
    canvas = Canvas(SCALE)
    design.paint(canvas, _C[colours[0]], _C[colours[1]])
    return canvas.image.reduce(2)


def _zoom_range(design: Design) -> Point:
    """Return the range of the zoom in a scene: a car fills the image, a smaller product shows its surroundings."""
    return (0.92, 1.02) if design.label.startswith("cars/") else (0.76, 0.9)


def _turned(design: Design, rng: np.random.Generator) -> Pose:
    if design.ground is None:
        return Pose(tilt=float(rng.choice([-32, -20, 24, 38])), zoom=0.84, keystone=rng.uniform(-0.1, 0.1))
    side = float(rng.choice([-1, 1]))
    return Pose(
        mirror=True, tilt=side * 2, squeeze=rng.uniform(0.78, 0.88), keystone=side * rng.uniform(0.12, 0.22),
        zoom=rng.uniform(0.86, 0.94), shift=(rng.uniform(-12, 12), 0.0),
    )  # fmt: skip


def _cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    width, height = image.size
    part = rng.uniform(0.68, 0.8)
    left, top = rng.uniform(0, 1 - part) * width, rng.uniform(0.6, 1) * (1 - part) * height
    box = (round(left), round(top), round(left + part * width), round(top + part * height))
    return image.crop(box).resize((480, 360) if width * 3 == height * 4 else (480, 320), Image.Resampling.LANCZOS)
