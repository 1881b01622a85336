"""The command `imgret review`: what is left to decide about duplicates, decisions, their history, and removals.

Belongs here: options and printing. Not here: what is left to decide (`domain.review.queue`), the file of decisions
(`domain.review.decision_log`), moving files and putting them back (`cli.review_moves`). Imports neither dagster nor
pandas.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from imgret_assets.cli import review_moves
from imgret_assets.cli.support.image_arguments import as_file, in_library
from imgret_assets.cli.support.output import COSINE, Output, absolute_paths, exit_code, fail_on_found, output_options
from imgret_assets.cli.support.served_home import open_served_home
from imgret_assets.domain.duplicates.duplicate_search import EXACT, NEAR
from imgret_assets.domain.review import decision_log
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.decisions import DUPLICATE, NOT_DUPLICATES, VERDICTS, keep_all
from imgret_assets.domain.review.queue import read_review_queue
from imgret_assets.domain.review.removals import decide_duplicates, find_library_file
from imgret_assets.domain.review.review_sets import KINDS, SIMILAR, Member, ReviewSet
from imgret_assets.domain.storage.home import Home, open_existing_home
from imgret_assets.errors import DecisionError, HomeError
from imgret_assets.object_url import ObjectUrl
from imgret_assets.settings import load_settings
from imgret_assets.wording import counted

_SET = ("set", "kind", "proposal", "path", "width", "height", "bytes", "distance", "cosine", "why")
_EVENT = ("at", "by", "verdict", "state", "path_a", "path_b", "keep_path", "name", "reason", "batch")
_HOME = click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
_BY = click.option("--by", help="Who decides; by default the user of the operating system.")
_REASON = click.option("--reason", default="", help="Reason, stored with the decision.")


@click.group(invoke_without_command=True)
@click.option("--kind", type=click.Choice(KINDS), help="List only this kind; by default exact and near.")
@click.option("--limit", type=click.IntRange(1), help="List at most this many sets of a kind.")
@click.option("--dry-run", is_flag=True, help="List the files that could be removed by the decisions; removes none.")
@click.option("--apply", is_flag=True, help="List these files, ask, and move them to the system's trash.")
@click.option(
    "--to", type=click.Path(path_type=Path), help="With --apply: move them to this folder, which gets an undo file."
)
@click.option("--yes", is_flag=True, help="With --apply: move them without asking.")
@output_options
@fail_on_found
@_HOME
@click.pass_context
def review(
    ctx: click.Context,
    kind: str | None,
    limit: int | None,
    dry_run: bool,
    apply: bool,
    to: Path | None,
    yes: bool,
    output: Output,
    fail_on_found: bool,
    home: Path | None,
) -> int | None:
    """List what is left to decide about duplicates, closest first. Only --apply moves files.

    Kinds: exact (the same bytes), near (near-duplicates), similar (cosine above the threshold, no duplicates).
    """
    ctx.obj = home
    if ctx.invoked_subcommand is not None:
        if apply or to or yes:
            raise click.UsageError("--apply, --to and --yes are for `imgret review` without a subcommand")
        return None
    if not apply and (to or yes):
        raise click.UsageError("--to and --yes are for --apply")
    if apply and (dry_run or fail_on_found or kind or limit):
        raise click.UsageError("--apply moves all files that --dry-run lists: give it without other options")
    opened = open_existing_home(load_settings({"home": home}))
    if apply:
        return review_moves.apply(opened, output, to, confirmed=yes)
    if dry_run:
        return exit_code(any_result=_show_removals(opened, output), fail_on_found=fail_on_found)
    opened = open_served_home(opened.settings)
    queue = read_review_queue(opened)
    kinds = [kind] if kind else [EXACT, NEAR]
    sets = [review_set for name in kinds for review_set in queue.sets(name, 0, limit)]
    rows = [row for number, review_set in enumerate(sets, 1) for row in _member_rows(number, review_set)]
    documents = [_document(number, review_set) for number, review_set in enumerate(sets, 1)]
    output.emit(
        _SET,
        rows,
        document={**COSINE, "counts": queue.counts, "sets": documents},
        lines=[{**COSINE, **document} for document in documents],
        paths=absolute_paths(opened.images, (row["path"] for row in rows)),
    )
    for note in queue.notes:
        click.echo(f"imgret: {note}", err=True)
    counts = queue.counts
    click.echo(
        f"imgret: left to decide: {counts[EXACT]:,} exact and {counted(counts[NEAR], 'near set')}, "
        f"{counted(counts[SIMILAR], 'similar pair')}",
        err=True,
    )
    return exit_code(any_result=bool(sets), fail_on_found=fail_on_found)


def _member_rows(number: int, review_set: ReviewSet) -> Iterator[dict[str, Any]]:
    for member in review_set.members:
        is_kept = member is review_set.keep
        yield {
            "set": number,
            "kind": member.kind or review_set.kind,
            "proposal": _proposal(member, is_kept=is_kept),
            "path": member.path,
            "width": member.width,
            "height": member.height,
            "bytes": member.bytes,
            **({} if is_kept else {"distance": member.distance, "cosine": member.cosine}),
            "why": review_set.reason if is_kept else _why(member),
        }


def _proposal(member: Member, *, is_kept: bool) -> str:
    if member.removal is not None:
        return "removal decided"
    return "keep" if is_kept or not member.proposed else "remove"


def _why(member: Member) -> str:
    if member.removal is not None:
        return f"decided by {member.removal.by}"
    if member.protected:
        return "protected"
    return "kept by an earlier decision" if member.kept else ""


def _document(number: int, review_set: ReviewSet) -> dict[str, Any]:
    members = [
        {**row, "sha256": member.sha256, "correlation": member.correlation, "protected": member.protected}
        for row, member in zip(_member_rows(number, review_set), review_set.members, strict=True)
    ]
    return {"set": number, "kind": review_set.kind, "reason": review_set.reason, "members": members}


def _show_removals(home: Home, output: Output) -> bool:
    """Print the files that could be removed; return whether there are any."""
    removals = review_moves.print_removals(home, output)
    files = counted(len(removals.files), "file")
    click.echo(f"imgret: {files} could be removed, {removals.bytes / 1e6:,.1f} MB; none was removed", err=True)
    return bool(removals.files)


def _open_home(ctx: click.Context, home: Path | None) -> Home:
    return open_existing_home(load_settings({"home": home or ctx.obj}))


@review.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--verdict", type=click.Choice(VERDICTS), required=True, help="Keep both, or only the one of --keep.")
@click.option("--keep", type=click.Path(path_type=Path), help="For duplicates, the image to keep: A or B.")
@_BY
@_REASON
@_HOME
@click.pass_context
def decide(
    ctx: click.Context,
    a: Path,
    b: Path,
    verdict: str,
    keep: Path | None,
    by: str | None,
    reason: str,
    home: Path | None,
) -> None:
    """Decide about two images of the library: files, or paths under the image root. Prints the decision's id.

    A symbolic link is no duplicate and can't be the one to keep: it has no content of its own.
    """
    opened = _open_home(ctx, home)
    paths = [_library_path(opened, argument) for argument in (a, b)]
    if verdict == NOT_DUPLICATES:
        if keep is not None:
            raise click.UsageError("--keep is for --verdict duplicate: not_duplicates keeps both")
        decision = keep_all([find_library_file(opened, path) for path in paths])
    else:
        if keep is None:
            raise click.UsageError(f"--verdict {DUPLICATE} needs --keep: which of the two")
        kept = _library_path(opened, keep)
        if kept not in paths:
            raise click.UsageError(f"--keep {keep} is neither {a} nor {b}")
        decision = decide_duplicates(opened, kept, [path for path in paths if path != kept])
    batch = decision_log.record(opened, [decision], by=by, reason=reason)
    click.echo(batch)
    click.echo("imgret: recorded; `imgret review undo` undoes it", err=True)


def _library_path(home: Home, argument: Path) -> str:
    """Return the path in the tables of an argument."""
    file = as_file(argument, home.images)
    # A file that does not exist may still be in the tables: then the argument is a path under the image root.
    exists = isinstance(file, ObjectUrl) or file.exists()
    path = in_library(file if exists else home.images / argument, home.images)
    if path is None:
        raise DecisionError(
            f"{argument} is not under the image root, {home.images}", expected="an image of the library"
        )
    return path


@review.command()
@click.option("--limit", type=click.IntRange(1), help="List only this many of the newest.")
@output_options
@_HOME
@click.pass_context
def history(ctx: click.Context, limit: int | None, output: Output, home: Path | None) -> None:
    """List all decisions, newest first: who, when, what, why, and whether they are in force."""
    opened = _open_home(ctx, home)
    rows = decision_log.history_rows(decision_log.read_history(opened, count=limit))
    output.emit(
        _EVENT,
        rows,
        document={"schema": COSINE["schema"], "decisions": rows},
        paths=absolute_paths(opened.images, _paths(rows)),
    )
    in_force = sum(1 for _ in read_decisions(opened).in_force())
    click.echo(
        f"imgret: {counted(len(rows), 'event')} shown; {counted(in_force, 'pair')} with a decision in force", err=True
    )


def _paths(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row[side] for row in rows for side in ("path_a", "path_b") if row[side]))


@review.command()
@click.argument("id")
@_BY
@_REASON
@_HOME
@click.pass_context
def undo(ctx: click.Context, id: str, by: str | None, reason: str, home: Path | None) -> None:
    """Undo everything that was decided together with ID, as `imgret review history` shows it."""
    batch = decision_log.undo(_open_home(ctx, home), id, by=by, reason=reason)
    click.echo(batch)
    click.echo("imgret: undone; an undo can be undone as well", err=True)


@review.command()
@click.argument("undo_file", type=click.Path(path_type=Path))
@_HOME
@click.pass_context
def restore(ctx: click.Context, undo_file: Path, home: Path | None) -> int:
    """Put the files back that `imgret review --apply --to DIR` moved; UNDO_FILE is in that folder."""
    return review_moves.restore(load_settings({"home": home or ctx.obj}), undo_file)


@review.command()
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@click.option("--output", "file", type=click.Path(path_type=Path), help="Write to this file, not to stdout.")
@_HOME
@click.pass_context
def export(ctx: click.Context, form: str, file: Path | None, home: Path | None) -> None:
    """Write all decisions, newest first."""
    opened = _open_home(ctx, home)
    text = decision_log.export_csv(opened) if form == "csv" else decision_log.export_json(opened)
    if file is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HomeError(f"{file} can't be written ({error.strerror})", remedy="give another file") from error
