"""What the project's drawings have in common.

Belongs here: the figure, its colours, its panels' finish, its file. Not here: what is drawn
(`domain.analysis.quality_plot`, `domain.analysis.threshold_plot`). matplotlib is imported when a figure is made.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from imgret_assets.domain.storage import atomic_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Told apart by colour-blind readers, too (Okabe and Ito, "Color Universal Design", 2008).
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#555555"
DPI = 130
# Lines and their smoothed edges need few: a picture of so many is a third of the bytes.
_COLOURS = 64


def new_figure(width: float, height: float) -> "Figure":
    """A figure of so many inches that needs no display and no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_png(figure: "Figure", file: Path) -> None:
    """Draw a figure into a PNG file, which appears when it is whole.

    Raises:
        DiskFullError, HomeError: it can't be written.
    """
    with atomic_files.replacing(file) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def smaller_png(file: Path, share: float) -> bytes:
    """A drawing's file at a share (0 to 1) of its size, as a PNG with few colours, for where bytes count."""
    with Image.open(file) as whole:
        picture = whole.convert("RGB")
    picture.thumbnail((round(picture.width * share), round(picture.height * share)), Image.Resampling.LANCZOS)
    small = io.BytesIO()
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def settle(figure: "Figure") -> None:
    """Find the panels their places once, for however many times the figure is drawn: that takes as long as drawing."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def finish(panel: Any) -> None:
    """No frame above and at the right, and a legend without one."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=8, frameon=False, loc="best")
