"""The homes that benchmarks work in.

Belongs here: opening one. Not here: what is measured in it.
"""

from pathlib import Path
from typing import Any

from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.settings import load_settings

# Settings of the benchmark are its own, whatever `.env` says.
NO_ENV = {"IMGRET_ENV_FILE": "/dev/null"}


def open_bench_home(folder: Path, **flags: Any) -> Home:
    """A home in `folder` with the settings given by name, all others at their defaults."""
    return open_home(load_settings({"home": folder, **flags}, env=NO_ENV))
