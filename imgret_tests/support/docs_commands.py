"""The commands that README.md and docs/ show, and which of them a test runs.

Belongs here: finding them, taking them apart, the list of those that no test runs, each with its reason. Not here:
the tests (`unit.test_docs`, `server.test_docs_commands`), Cypher (`server.test_docs`).
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from imgret_assets.cli.main import imgret
from imgret_assets.locations import PROJECT

PAGES = (
    *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((PROJECT / "docs").rglob("*.md")),
)
# Its examples are run by server.test_command_line.
COMMAND_LINE = "command-line.md"
IMGRET = ("imgret", ".venv/bin/imgret")
# A block with one of them in it is one of commands.
_SIGNS = {*IMGRET, "make", "docker", "tar", "curl"}

# Line, without remark and place of `imgret` -> why no test of the documentation runs it. It is taken apart all the
# same: commands, options, values, settings, make targets have to exist.
NOT_RUN = {
    r"make .*": "builds an environment, or stays; the targets exist",
    r"imgret (demo|setup)( .*)?": "build or download; run by their own tests and by `make demo`",
    r"imgret (app|dev)( .*)?": "stay until they are stopped; run by their own tests",
    r"imgret serve( .*)?": "stays until it is stopped; run by docs.test_api_examples",
    r"curl .*": "needs the HTTP API; run by docs.test_api_examples",
    r"imgret run --images photos=.*": "its folders are mount points; run by server.test_several_roots",
    r"imgret ~/Pictures": "stays until it is stopped; run by its own tests",
    r"imgret samples .*": "downloads or draws; run by its own tests",
    r"imgret db (start|stop|browse|adopt --wipe|import .*)": "tests have a server of their own; run by its own tests",
    r"(cp|rm) -r ~/imgret-home/neo4j.*": "the embedded server's folder, which tests of the documentation don't start",
    r"docker compose .*": "needs Docker; services and settings exist",
    r".*(timm|openclip):.*": "fetches weights from the internet, or needs a folder with a model",
    r"imgret query .*--text .*": "needs a model with a text tower; run by its own tests",
    r"imgret models --timm .*": "loads torch; run by its own tests",
    r"imgret models centre.*": "needs a hundred images; run by its own tests",
    r"imgret .*s3://.*": "needs a bucket; run by properties.test_images_in_a_bucket",
    r"IMGRET_STORE=.*": "needs a bucket; run by server.test_store",
    r"IMGRET_(CENTRE|POOLING)=.*": "makes another space; run by their own tests",
    r"imgret run --model efficientnet_lite0": "what the tested home has",
    r"imgret run --threshold .*": "run with another number, for command-line.md",
    r"imgret review (undo|restore) .*": "its argument is made up; run by its own tests",
    r"imgret review --apply.*": "asks, or moves files of the tested home; run by its own tests",
    r"IMGRET_GRAPH_VECTORS=.*": "takes the vectors from the tested graph; run by server.test_graph_without_vectors",
    r"IMGRET_CLUSTER=.*": "needs a cluster; run by cluster.test_searches",
    r"pip install .*": "changes the environment; the extras exist",
    r"\.venv/bin/pre-commit install": "changes the clone's hooks",
    r"\.venv/bin/python -m bench.*": "takes half an hour; its parts exist",
    r"([0-9*]+ ){5}.*": "a line for cron; its command is run",
}

_ASSIGNMENT = re.compile(r"[A-Z][A-Z0-9_]*=.*", re.DOTALL)
_BREAKS = {"|", "&&"}
_WHEN = re.compile(r"([\d*]+ ){5}")  # five fields of a line for cron
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?:(?: {4}.*)?\n)*?(?: {4}\S.*\n)(?:(?: {4}.*)?\n)*", re.MULTILINE)
_REMARK = re.compile(r"\s+#\s.*$|\s{3,}\S.*$")


@dataclass(frozen=True)
class Shown:
    """A line of a page that a reader may type.

    Attributes:
        page: file name.
        line: as it stands there, without its remark.
    """

    page: str
    line: str

    @property
    def plain(self) -> str:
        """The line as if `imgret` were on the path."""
        return re.sub(r"(^|\s)\.venv/bin/imgret\b", r"\1imgret", self.line)

    @property
    def variables(self) -> list[str]:
        """Names of the variables that the line sets."""
        return [word.partition("=")[0] for word in shlex.split(self.line) if _ASSIGNMENT.fullmatch(word)]

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of the line, without variables and the file that the output goes to."""
        found: list[list[str]] = [[]]
        for word in shlex.split(re.sub(r"\s>\s\S+", "", _WHEN.sub("", self.line, count=1))):
            if word in _BREAKS:
                found.append([])
            elif found[-1] or not _ASSIGNMENT.fullmatch(word):
                found[-1].append(word)
        return found

    @property
    def imgret(self) -> list[list[str]]:
        """Arguments of every `imgret` of the line, in whatever it is called."""
        places = [(words, index) for words in self.commands for index, word in enumerate(words) if word in IMGRET]
        return [words[index + 1 :] for words, index in places]

    @property
    def reason_not_run(self) -> str | None:
        """Why no test of the documentation runs it; None where one does."""
        return next((reason for line, reason in NOT_RUN.items() if re.fullmatch(line, self.plain)), None)


def page_text(page: Path) -> str:
    """A page."""
    return page.read_text(encoding="utf-8")


def blocks(text: str) -> Iterator[str]:
    """Indented blocks, and fenced ones without a language or of the shell, each without its indentation."""
    for language, block in _FENCED.findall(text):
        if language in ("", "sh", "bash", "console"):
            yield block
    for block in _INDENTED.findall(_FENCED.sub("", text)):
        yield re.sub(r"^ {4}", "", block, flags=re.MULTILINE)


def shown_on(page: Path) -> list[Shown]:
    """Every line of a page's blocks of commands, in order."""
    found = []
    for block in blocks(page_text(page)):
        lines = [_REMARK.sub("", line).rstrip() for line in block.splitlines() if line.strip()]
        if any(_SIGNS.intersection(line.split()) for line in lines):
            found += [Shown(page.name, line) for line in lines]
    return found


def all_shown() -> list[Shown]:
    """Every line of every page's blocks of commands."""
    return [line for page in PAGES for line in shown_on(page)]


def parse_command(
    arguments: Sequence[str], command: click.Command = imgret, parent: click.Context | None = None
) -> None:
    """Take a command's arguments apart as click does, and run nothing."""
    try:
        context = command.make_context(command.name or "imgret", list(arguments), parent=parent)
    except click.exceptions.Exit:
        return  # --help, --version
    except click.exceptions.NoArgsIsHelpError:
        return
    rest = [*context._protected_args, *context.args]
    if not isinstance(command, click.Group) or not rest:
        return
    _, found, following = command.resolve_command(context, rest)
    assert found is not None
    parse_command(following, found, context)
