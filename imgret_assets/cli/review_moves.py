"""Moving of files that are not needed: `imgret review --apply` and `imgret review restore`.

Belongs here: the list, the confirmation, what is printed afterwards. Not here: options (`cli.review`), checks and moves
(`domain.review.apply_removals`).
"""

import shlex
from pathlib import Path

import click

from imgret_assets.cli.support.output import COSINE, Output, absolute_paths
from imgret_assets.cli.support.progress_bar import progress_bar
from imgret_assets.domain.review.apply_removals import (
    Applied,
    apply_removals,
    check_destination,
    check_movable,
    restore_files,
)
from imgret_assets.domain.review.removals import Removals, list_removals
from imgret_assets.domain.runtime.progress import progress_listener
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import EXIT_FAILED, DecisionError
from imgret_assets.settings import Settings
from imgret_assets.terminal import printable
from imgret_assets.wording import counted

_COLUMNS = ("path", "bytes", "keep", "by", "at", "batch")
# Files that stay are named, at most so many.
_MAX_NAMED = 20


def print_removals(home: Home, output: Output) -> Removals:
    """Print the files that could be removed, and return them."""
    removals = list_removals(home)
    rows = [
        {
            "path": removal.path,
            "bytes": removal.bytes,
            "keep": removal.keep,
            "by": removal.decision.by,
            "at": removal.decision.at,
            "batch": removal.decision.batch,
            "sha256": removal.file.sha256,
            "reason": removal.decision.reason,
        }
        for removal in removals.files
    ]
    output.emit(
        _COLUMNS,
        rows,
        document={"schema": COSINE["schema"], "removals": rows},
        paths=absolute_paths(home.images, (removal.path for removal in removals.files)),
    )
    if removals.changed:
        click.echo(
            f"imgret: {len(removals.changed):,} left out: the file, or the file kept instead, has changed since the "
            "last run",
            err=True,
        )
    return removals


def apply(home: Home, output: Output, to: Path | None, *, confirmed: bool) -> int:
    """List the files that are not needed, ask, and move them.

    Args:
        home: the home.
        output: the format of the list.
        to: the folder to move them to; None for the system's trash.
        confirmed: do not ask.

    Returns:
        The exit code: 1 if a file could not be moved, or the user has interrupted it.

    Raises:
        DecisionError: the folder is not allowed, all files lie in buckets, or nobody has confirmed.
    """
    if to is not None:
        to = check_destination(home, to)
    removals = print_removals(home, output)
    place = "the system's trash" if to is None else str(to)
    files = counted(len(removals.files), "file")
    if not removals.files:
        click.echo("imgret: no file is to be moved", err=True)
        return 0
    click.echo(f"imgret: {files}, {removals.bytes / 1e6:,.1f} MB, to be moved to {printable(place)}", err=True)
    check_movable(home, removals.files)
    if not confirmed:
        _confirm(len(removals.files))
    with progress_bar():
        listener = progress_listener(lambda line: click.echo(f"imgret: {line}", err=True))
        applied = apply_removals(home, removals.files, to, progress=listener)
    moved = counted(len(applied.done), "file")
    frees = "emptying it frees" if to is None else "they use"
    click.echo(f"imgret: {moved} moved to {printable(place)}; {frees} {applied.bytes / 1e6:,.1f} MB", err=True)
    _print_refused(applied, "not moved")
    if applied.interrupted:
        click.echo("imgret: interrupted; `imgret review --apply` moves the rest", err=True)
    if applied.done or applied.interrupted:
        undo_file = shlex.quote(str(applied.undo_file))
        undo = f"`imgret review restore {undo_file}` puts them back"
        if to is None:
            undo = f"the trash can restore them; {undo_file} lists them"
        click.echo(f"imgret: {printable(undo)}. Next: `imgret run`", err=True)
    return EXIT_FAILED if applied.refused or applied.interrupted else 0


def _confirm(count: int) -> None:
    """Ask for the number of files, which nobody types by mistake."""
    try:
        typed = click.prompt(f"Type {count} to move them", default="", show_default=False, err=True)
    except click.Abort as error:
        raise _not_confirmed() from error
    if typed.strip().replace(",", "") != str(count):
        raise _not_confirmed()


def _not_confirmed() -> DecisionError:
    return DecisionError("Nothing was moved: it was not confirmed", remedy="type the number of files, or add --yes")


def restore(settings: Settings, undo_file: Path) -> int:
    """Put the files of an undo file back; return the exit code: 1 if one could not be put back."""
    restored = restore_files(undo_file, max_bytes=settings.max_bytes)
    click.echo(f"imgret: {counted(len(restored.done), 'file')} put back, {restored.bytes / 1e6:,.1f} MB", err=True)
    _print_refused(restored, "not put back")
    if restored.done:
        click.echo(
            "imgret: the decisions are as before: `imgret review undo` takes them back. Next: `imgret run`", err=True
        )
    return EXIT_FAILED if restored.refused else 0


def _print_refused(applied: Applied, outcome: str) -> None:
    for path, reason in applied.refused[:_MAX_NAMED]:
        click.echo(f"imgret: {outcome}: {printable(f'{path} {reason}')}", err=True)
    further = len(applied.refused) - _MAX_NAMED
    if further > 0:
        click.echo(f"imgret: {outcome}: {counted(further, 'more file')}", err=True)
