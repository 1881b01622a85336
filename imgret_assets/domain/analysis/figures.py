"""Parts that all plots share: the figure, its colours, the finish of its axes, its file.

Belongs here: what every plot needs. Not here: what is plotted (`domain.analysis.quality_plot`,
`domain.analysis.threshold_plot`). matplotlib is imported when a figure is made.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from imgret_assets.domain.storage import atomic_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colour-blind readers can tell these apart (Okabe and Ito, "Color Universal Design", 2008).
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#555555"
DPI = 130
# Lines and their smoothed edges need few colours; with this many the file has a third of the bytes.
_COLOURS = 64


def new_figure(width_inches: float, height_inches: float) -> "Figure":
    """Return a figure that needs no display and no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_png(figure: "Figure", file: Path) -> None:
    """Write a figure to a PNG file, which appears when it is complete.

    Raises:
        DiskFullError, HomeError: the file can't be written.
    """
    with atomic_files.replacing(file) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def smaller_png(file: Path, share: float) -> bytes:
    """Return a plot's file at a share (0 to 1) of its width and height, as a PNG with few colours and few bytes."""
    with Image.open(file) as original:
        image = original.convert("RGB")
    image.thumbnail((round(image.width * share), round(image.height * share)), Image.Resampling.LANCZOS)
    png = io.BytesIO()
    image.quantize(_COLOURS, dither=Image.Dither.NONE).save(png, "PNG", optimize=True)
    return png.getvalue()


def fix_layout(figure: "Figure") -> None:
    """Compute the layout once, however often the figure is drawn: it takes as long as drawing."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def finish_axes(axes: Any) -> None:
    """Remove the frame at the top and at the right, and add a legend without a frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="best")
