"""The places on this machine that count where no setting names others.

Belongs here: a checkout and the folders of a user, the default home, cache and `.env`, torch's cache, how imgret is
called and installed here. Not here: the settings that name other places (`settings`), what is in a home
(`domain.storage.home`).
"""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
PROJECT = PACKAGE.parent


def is_checkout(folder: Path | None = None) -> bool:
    """Return True if the package lies in a checkout of imgret, and False if it is installed from a wheel.

    Args:
        folder: the folder that contains the package; the one of this process where None.
    """
    # Some packages put a pyproject.toml of their own into site-packages.
    try:
        text = ((folder or PROJECT) / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return '\nname = "imgret"\n' in text


def default_home() -> Path:
    """Return the home that is used where none is set: `data` in a checkout, else the user's folder for data."""
    if is_checkout():
        return PROJECT / "data"
    # Here and below: a checkout does not need it.
    from platformdirs import user_data_path

    return user_data_path("imgret", appauthor=False)


def default_cache() -> Path:
    """Return the folder of downloads that is used where none is set."""
    if is_checkout():
        return PROJECT / "data" / "cache"
    from platformdirs import user_cache_path

    return user_cache_path("imgret", appauthor=False)


def default_env_file() -> Path:
    """Return the file that completes the environment: `.env` of the checkout, else of the working folder."""
    return (PROJECT if is_checkout() else Path.cwd()) / ".env"


def torch_weights(file_name: str) -> Path:
    """Return the path at which torch keeps downloaded weights, without importing torch; they may be missing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    torch_home = Path(os.environ.get("TORCH_HOME") or cache / "torch")
    return torch_home.expanduser() / "hub" / "checkpoints" / file_name


def program() -> str:
    """Return how imgret is called here, for messages."""
    return ".venv/bin/imgret" if is_checkout() else "imgret"


def install_command(extra: str = "") -> str:
    """Return the command that installs imgret with its packages again, for messages.

    Args:
        extra: the optional packages that it also installs; a checkout has those of all extras.
    """
    if is_checkout():
        return "make setup"
    return f"pip install 'imgret[{extra}]'" if extra else "pip install --upgrade --force-reinstall imgret"
