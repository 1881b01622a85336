"""The home as commands that only read it get it.

Belongs here: taking newer tables of a store first, the notes that a command shows the last complete state, or tables
that may not be the newest. Not here: choosing the state (`domain.operations.complete_state`), the store
(`domain.operations.store_reading`).
"""

import click

from imgret_assets.domain.operations.complete_state import describe, served_home
from imgret_assets.domain.storage.home import Home, open_existing_home
from imgret_assets.settings import Settings


def open_served_home(settings: Settings) -> Home:
    """Open a home to read it, and note its state on stderr (`note_state`).

    Raises:
        HomeError: there is none in its folder; none is made.
        StoreError: there is none, and the store that should have its tables can't be reached or refuses.
    """
    home = open_newest_home(settings)
    note_state(home)
    return home


def open_newest_home(settings: Settings) -> Home:
    """Open a home to read it, after taking newer tables of its store; raise what `open_served_home` raises."""
    take_from_store(settings)
    return served_home(open_existing_home(settings))


def take_from_store(settings: Settings) -> None:
    """Take newer tables of the home's store, if it has one.

    Raises:
        StoreError: there is no home yet, and the store can't be reached or refuses.
    """
    if settings.store is not None:
        from imgret_assets.domain.operations.store_reading import take_newer_tables

        take_newer_tables(settings)


def note_state(home: Home) -> None:
    """Note on stderr if the home's last complete state is read, or if its store did not answer."""
    if note := describe(home):
        click.echo(f"imgret: {note}", err=True)
    if home.settings.store is not None:
        from imgret_assets.domain.operations.store_reading import store_note

        if note := store_note(home.settings):
            click.echo(f"imgret: {note}", err=True)
