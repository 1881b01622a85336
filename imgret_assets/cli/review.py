"""`imgret review`: what is left to decide about duplicates, deciding, looking back, and what would be removed.

Belongs here: options and printing. Not here: what is left (`domain.review.queue`), the file of decisions
(`domain.review.decisions`). Imports neither dagster nor pandas. No command here removes a file.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from imgret_assets.cli.support.image_arguments import as_file, in_library
from imgret_assets.cli.support.output import COSINE, Output, absolute_paths, exit_code, fail_on_found, output_options
from imgret_assets.domain.duplicates.duplicate_search import EXACT, NEAR
from imgret_assets.domain.review import decision_log
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.decisions import DUPLICATE, NOT_DUPLICATES, VERDICTS, File, keep_all, keep_one
from imgret_assets.domain.review.queue import read_review_queue
from imgret_assets.domain.review.removals import find_library_file, list_removals
from imgret_assets.domain.review.review_sets import KINDS, SIMILAR, Member, ReviewSet
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import DecisionError, HomeError
from imgret_assets.settings import load_settings

_SET = ("set", "kind", "proposal", "path", "width", "height", "bytes", "distance", "cosine", "why")
_REMOVAL = ("path", "bytes", "keep", "by", "at", "batch")
_ENTRY = ("at", "by", "verdict", "state", "path_a", "path_b", "keep_path", "reason", "batch")
_HOME = click.option("--home", type=click.Path(path_type=Path), help="Folder of tables, database and caches.")
_BY = click.option("--by", help="Who decides; the user of this computer where it is not given.")
_REASON = click.option("--reason", default="", help="Why, for those who look back.")


@click.group(invoke_without_command=True)
@click.option("--kind", type=click.Choice(KINDS), help="Only these; exact and near where it is not given.")
@click.option("--limit", type=click.IntRange(1), help="At most so many sets of a kind.")
@click.option("--dry-run", is_flag=True, help="List the files that the decisions make superfluous; removes none.")
@output_options
@fail_on_found
@_HOME
@click.pass_context
def review(
    ctx: click.Context,
    kind: str | None,
    limit: int | None,
    dry_run: bool,
    output: Output,
    fail_on_found: bool,
    home: Path | None,
) -> int | None:
    """List what is left to decide about duplicates, tightest first; nothing is ever removed.

    Kinds: exact (the same bytes), near (copies of one picture), similar (cosine above the threshold, no copies).
    """
    ctx.obj = home
    if ctx.invoked_subcommand is not None:
        return None
    opened = open_home(load_settings({"home": home}))
    if dry_run:
        return exit_code(any_result=_dry_run(opened, output), fail_on_found=fail_on_found)
    left = read_review_queue(opened)
    kinds = [kind] if kind else [EXACT, NEAR]
    sets = [one for name in kinds for one in left.sets(name, 0, limit)]
    rows = [row for number, one in enumerate(sets, 1) for row in _members(number, one)]
    documents = [_document(number, one) for number, one in enumerate(sets, 1)]
    output.emit(
        _SET,
        rows,
        document={**COSINE, "counts": left.counts, "sets": documents},
        lines=[{**COSINE, **one} for one in documents],
        paths=absolute_paths(opened.images, (row["path"] for row in rows)),
    )
    for note in left.notes:
        click.echo(f"imgret: {note}", err=True)
    counts = left.counts
    click.echo(
        f"imgret: left to decide: {counts[EXACT]:,} exact and {counts[NEAR]:,} near sets, "
        f"{counts[SIMILAR]:,} similar pairs",
        err=True,
    )
    return exit_code(any_result=bool(sets), fail_on_found=fail_on_found)


def _members(number: int, one: ReviewSet) -> Iterator[dict[str, Any]]:
    for member in one.members:
        kept = member is one.keep
        yield {
            "set": number,
            "kind": member.kind or one.kind,
            "proposal": _proposal(member, kept=kept),
            "path": member.path,
            "width": member.width,
            "height": member.height,
            "bytes": member.bytes,
            **({} if kept else {"distance": member.distance, "cosine": member.cosine}),
            "why": one.reason if kept else _why(member),
        }


def _proposal(member: Member, *, kept: bool) -> str:
    if member.removal is not None:
        return "removal decided"
    return "keep" if kept or not member.proposed else "remove"


def _why(member: Member) -> str:
    if member.removal is not None:
        return f"decided by {member.removal.by}"
    if member.protected:
        return "protected"
    return "kept by an earlier decision" if member.kept else ""


def _document(number: int, one: ReviewSet) -> dict[str, Any]:
    members = [
        {**row, "sha256": member.sha256, "correlation": member.correlation, "protected": member.protected}
        for row, member in zip(_members(number, one), one.members, strict=True)
    ]
    return {"set": number, "kind": one.kind, "reason": one.reason, "members": members}


def _dry_run(home: Home, output: Output) -> bool:
    found = list_removals(home)
    rows = [
        {
            "path": one.path,
            "bytes": one.bytes,
            "keep": one.keep,
            "by": one.decision.by,
            "at": one.decision.at,
            "batch": one.decision.batch,
            "sha256": one.file.sha256,
            "reason": one.decision.reason,
        }
        for one in found.files
    ]
    output.emit(
        _REMOVAL,
        rows,
        document={"schema": COSINE["schema"], "removals": rows},
        paths=absolute_paths(home.images, (one.path for one in found.files)),
    )
    if found.changed:
        click.echo(
            f"imgret: {len(found.changed):,} left out: they, or what is kept instead, have changed since the last run",
            err=True,
        )
    click.echo(
        f"imgret: decisions make {len(rows):,} files superfluous, {found.bytes / 1e6:,.1f} MB; none was removed",
        err=True,
    )
    return bool(rows)


def _opened(ctx: click.Context, home: Path | None) -> Home:
    return open_home(load_settings({"home": home or ctx.obj}))


@review.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--verdict", type=click.Choice(VERDICTS), required=True, help="Keep both, or one is not needed.")
@click.option("--keep", type=click.Path(path_type=Path), help="Of duplicates, the one to keep: A or B.")
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
    """Decide about two images of the library: files, or paths under the image root. Prints the decision's id."""
    opened = _opened(ctx, home)
    one, other = _file(opened, a), _file(opened, b)
    if verdict == NOT_DUPLICATES:
        if keep is not None:
            raise click.UsageError("--keep is for --verdict duplicate: not_duplicates keeps both")
        judgement = keep_all([one, other])
    else:
        if keep is None:
            raise click.UsageError(f"--verdict {DUPLICATE} needs --keep: which of the two")
        kept = _file(opened, keep)
        if kept not in (one, other):
            raise click.UsageError(f"--keep {keep} is neither {a} nor {b}")
        judgement = keep_one(kept, [file for file in (one, other) if file != kept])
    batch = decision_log.record(opened, [judgement], by=by, reason=reason)
    click.echo(batch)
    click.echo("imgret: written down; `imgret review undo` takes it back", err=True)


def _file(home: Home, given: Path) -> File:
    file = as_file(given, home.images)
    # What is not there can only be meant as a path of the library: the tables may know it still.
    inside = in_library(file if file.exists() else home.images / given, home.images)
    if inside is None:
        raise DecisionError(f"{given} is not under the image root, {home.images}", expected="an image of the library")
    return find_library_file(home, inside)


@review.command()
@click.option("--limit", type=click.IntRange(1), help="The newest so many.")
@output_options
@_HOME
@click.pass_context
def history(ctx: click.Context, limit: int | None, output: Output, home: Path | None) -> None:
    """List all decisions, newest first: who, when, what, why, and whether they are in force."""
    opened = _opened(ctx, home)
    rows = decision_log.history_rows(decision_log.read_history(opened)[:limit])
    output.emit(
        _ENTRY,
        rows,
        document={"schema": COSINE["schema"], "decisions": rows},
        paths=absolute_paths(opened.images, _paths(rows)),
    )
    in_force = sum(1 for _ in read_decisions(opened).in_force())
    click.echo(f"imgret: {len(rows):,} events are shown; {in_force:,} pairs have a decision in force", err=True)


def _paths(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row[side] for row in rows for side in ("path_a", "path_b") if row[side]))


@review.command()
@click.argument("id")
@_BY
@_REASON
@_HOME
@click.pass_context
def undo(ctx: click.Context, id: str, by: str | None, reason: str, home: Path | None) -> None:
    """Take back everything that was decided together with ID, as `imgret review history` shows it."""
    batch = decision_log.undo(_opened(ctx, home), id, by=by, reason=reason)
    click.echo(batch)
    click.echo("imgret: undone; an undo can be undone as well", err=True)


@review.command()
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@click.option("--output", "file", type=click.Path(path_type=Path), help="Write it there, not to stdout.")
@_HOME
@click.pass_context
def export(ctx: click.Context, form: str, file: Path | None, home: Path | None) -> None:
    """Write all decisions, newest first."""
    opened = _opened(ctx, home)
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
