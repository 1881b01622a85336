"""Documents, drawings and goods that are drawn from a seed, and edited versions of them.

Belongs here: images whose details matter, such as text. Not here: scenes of shapes (`imgret_tests.support.scenes`).
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# A word is two or three of these.
_SYLLABLES = (
    "ba",
    "co",
    "di",
    "fen",
    "gur",
    "hal",
    "ims",
    "jop",
    "ket",
    "lor",
    "mud",
    "nev",
    "ost",
    "pru",
    "qui",
    "rem",
)
Colour = tuple[int, int, int]
RED, ORANGE, BLUE, GREEN = (200, 40, 30), (230, 130, 30), (40, 70, 190), (40, 140, 60)


def words(seed: int, count: int) -> list[str]:
    """Return words that another seed does not have."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(_SYLLABLES, rng.integers(2, 4))) for _ in range(count)]


def page(text: list[str], *, heading: str = "Harbour Office", size: tuple[int, int] = (640, 860)) -> Image.Image:
    """Draw a page: the same heading and rule, and the words in lines."""
    image = Image.new("RGB", size, (252, 252, 250))
    draw = ImageDraw.Draw(image)
    draw.text((50, 36), heading, font=ImageFont.load_default(30), fill=(20, 20, 40))
    draw.line([(50, 84), (size[0] - 50, 84)], fill=(20, 20, 40), width=3)
    font = ImageFont.load_default(17)
    x, y = 50.0, 110
    for word in text:
        width = draw.textlength(word + " ", font=font)
        if x + width > size[0] - 50:
            x, y = 50.0, y + 24
        draw.text((x, y), word, font=font, fill=(30, 30, 30))
        x += width
    return image


def price_list(prices: list[int]) -> Image.Image:
    """Draw a table of prices in cents: ruled lines, a name and a price in each."""
    image = Image.new("RGB", (520, 60 + 34 * len(prices)), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 520, 44), fill=(30, 90, 70))
    draw.text((20, 8), "Price list", font=ImageFont.load_default(24), fill="white")
    for number, price in enumerate(prices):
        y = 56 + 34 * number
        draw.line([(20, y + 28), (500, y + 28)], fill=(170, 170, 170))
        draw.text((24, y), f"Article {number + 1}", font=ImageFont.load_default(20), fill="black")
        draw.text((380, y), f"{price / 100:.2f}", font=ImageFont.load_default(20), fill="black")
    return image


def form(entries: list[str]) -> Image.Image:
    """Draw a form: printed labels and boxes, and an entry in each box; a missing entry leaves its box empty."""
    image = Image.new("RGB", (620, 800), "white")
    draw = ImageDraw.Draw(image)
    draw.text((40, 24), "Application for a berth", font=ImageFont.load_default(28), fill=(0, 0, 60))
    draw.line([(40, 66), (580, 66)], fill=(0, 0, 60), width=2)
    for number, label in enumerate(words(77, 28)):
        x, y = 40 + 280 * (number % 2), 84 + 50 * (number // 2)
        draw.text((x, y), label.capitalize(), font=ImageFont.load_default(13), fill=(0, 0, 60))
        draw.rectangle((x, y + 16, x + 260, y + 42), outline=(0, 0, 60))
        if number < len(entries):
            draw.text((x + 8, y + 18), entries[number], font=ImageFont.load_default(19), fill=(20, 40, 160))
    return image


def receipt(items: list[str], prices: list[int]) -> Image.Image:
    """Draw a till receipt: the same shop, and a line for each item with its price in cents."""
    image = Image.new("RGB", (380, 190 + 24 * len(items)), (250, 250, 246))
    draw = ImageDraw.Draw(image)
    draw.text((110, 20), "HARBOUR STORE", font=ImageFont.load_default(20), fill="black")
    draw.text((120, 50), "Quay 7, open 8 to 20", font=ImageFont.load_default(14), fill="black")
    draw.line([(20, 80), (360, 80)], fill="black")
    font = ImageFont.load_default(16)
    for number, (item, price) in enumerate(zip(items, prices, strict=True)):
        draw.text((24, 92 + 24 * number), item, font=font, fill="black")
        draw.text((300, 92 + 24 * number), f"{price / 100:.2f}", font=font, fill="black")
    end = 100 + 24 * len(items)
    draw.line([(20, end), (360, end)], fill="black")
    draw.text((24, end + 8), "TOTAL", font=ImageFont.load_default(20), fill="black")
    draw.text((270, end + 8), f"{sum(prices) / 100:.2f}", font=ImageFont.load_default(20), fill="black")
    draw.text((110, end + 46), "Thank you, come again", font=ImageFont.load_default(14), fill="black")
    return image


def line_drawing(seed: int, moved: int | None = None) -> Image.Image:
    """Draw black strokes on white; the stroke `moved` lies elsewhere."""
    rng = np.random.default_rng(seed)
    strokes = rng.uniform(30, 570, (18, 2, 2))
    if moved is not None:
        strokes[moved] = np.random.default_rng(seed + 1).uniform(30, 570, (2, 2))
    image = Image.new("RGB", (600, 600), "white")
    draw = ImageDraw.Draw(image)
    for (x0, y0), (x1, y1) in strokes.tolist():
        draw.line([(x0, y0), (x1, y1)], fill="black", width=4)
    return image


def bag(colour: Colour) -> Image.Image:
    """Draw a bag of one colour, shaded, on a light ground."""
    image = Image.new("RGB", (420, 420), (238, 238, 234))
    draw = ImageDraw.Draw(image)
    draw.arc((140, 40, 280, 240), 180, 360, fill=colour, width=18)
    draw.polygon([(90, 140), (330, 140), (370, 380), (50, 380)], fill=colour)
    draw.ellipse((195, 230, 225, 260), fill=(240, 220, 120))
    y, x = np.mgrid[0:420, 0:420]
    shade = 0.85 + 0.15 * np.cos(x / 45) * np.cos(y / 70)
    return Image.fromarray(np.clip(np.asarray(image) * shade[..., None], 0, 255).astype(np.uint8))
