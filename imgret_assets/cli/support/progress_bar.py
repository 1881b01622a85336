"""Progress bars on a terminal, with rate and remaining time.

Belongs here: the bars. Not here: measuring progress (`domain.runtime.progress`).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from imgret_assets.domain.runtime.progress import Progress, send_progress_to
from imgret_assets.terminal import unfiltered


@contextmanager
def progress_bar() -> Iterator[None]:
    """Show the progress of the block on stderr. If that is not a terminal, the log receives it instead."""
    if not sys.stderr.isatty():
        yield
        return
    # Imported here because most commands show no bar.
    from tqdm import tqdm

    bars: dict[str, tqdm] = {}

    def show(progress: Progress) -> None:
        bar = bars.get(progress.unit)
        if bar is None:
            bar = bars[progress.unit] = tqdm(
                total=progress.total,
                unit=f" {progress.unit}",
                dynamic_ncols=True,
                leave=True,
                file=unfiltered(sys.stderr),
            )
        bar.total = progress.total
        bar.update(progress.done - bar.n)
        if progress.done >= progress.total:
            bar.close()

    try:
        with send_progress_to(show):
            yield
    finally:
        for bar in bars.values():
            bar.close()
