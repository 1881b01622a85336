"""The home as commands that only read it get it.

Belongs here: the note that a command shows the last complete state. Not here: choosing it
(`domain.operations.complete_state`).
"""

import click

from imgret_assets.domain.operations.complete_state import describe, served_home
from imgret_assets.domain.storage.home import Home, open_existing_home
from imgret_assets.settings import Settings


def open_served_home(settings: Settings) -> Home:
    """Open a home to read it; note on stderr if its last complete state is read.

    Raises:
        HomeError: there is none in its folder; none is made.
    """
    home = served_home(open_existing_home(settings))
    note_state(home)
    return home


def note_state(home: Home) -> None:
    """Note on stderr if the home's last complete state is read."""
    if note := describe(home):
        click.echo(f"imgret: {note}", err=True)
