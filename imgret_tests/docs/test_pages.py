"""The documentation says what is there: commands, options, settings, links, modules, tables.

Belongs here: everything that can be read without running it. Not here: running the examples
(`server.test_command_line`, `server.test_docs_commands`, `server.test_docs`).
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import click
import pyarrow as pa
import pytest
import yaml

from imgret_assets import settings
from imgret_assets.app.navigation import COMPARE, DUPLICATES, GRAPH, GROUPS, OVERVIEW, REVIEW, SEARCH
from imgret_assets.cli.main import COMMANDS, imgret
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage import tables as tables_module
from imgret_assets.locations import PROJECT
from imgret_tests.support.docs_commands import (
    COMMAND_LINE,
    IMGRET,
    NOT_RUN,
    PAGES,
    Shown,
    all_shown,
    page_text,
    parse_command,
)

# Read by others than `settings`: the line of the settings page that says so has them.
ELSEWHERE = {"IMGRET_ENV_FILE", "IMGRET_TEST_NEO4J_URI"}
SHELL_WORDS = {"eval", "pip", "cd", "cp", "rm", "ls", "tar", "head", "xargs", "docker", "make", "curl"}
VARIABLE = re.compile(r"\b(?:IMGRET|NEO4J|DAGSTER)_[A-Z0-9_]+\b")
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def text_of(name: str) -> str:
    return page_text(PROJECT / name)


def settings_read() -> set[str]:
    """Return the variables of all settings."""
    return set(settings.VARIABLES.values())


def compose_variables() -> set[str]:
    return set(VARIABLE.findall((PROJECT / "docker-compose.yml").read_text(encoding="utf-8")))


def options_of(words: Sequence[str]) -> tuple[set[str], list[str]]:
    """Options of a command and of the groups above it, and the words that are none of their names."""
    command: click.Command = imgret
    context = click.Context(imgret)
    known: set[str] = set()
    left = list(words)
    while True:
        known |= {name for one in command.get_params(context) for name in (*one.opts, *one.secondary_opts)}
        following = command.get_command(context, left[0]) if isinstance(command, click.Group) and left else None
        if following is None:
            return known, left
        command, context, left = following, click.Context(following, parent=context), left[1:]


# Commands


def test_pages_show_commands() -> None:
    pages = {line.page for line in all_shown()}
    assert pages >= {"README.md", COMMAND_LINE, "queries.md", "operating.md", "models.md", "page.md", "compose.md"}


@pytest.mark.parametrize("line", all_shown(), ids=lambda line: f"{line.page}: {line.line}")
def test_every_command_shown_can_be_called_so(line: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"\b[\w-]+\.[a-z]+\b", line.line):
        (tmp_path / name).touch()  # click opens some
    for words in line.imgret:
        parse_command(words)
    for words in line.commands:
        program = words[0] if words else ""
        assert program in {*IMGRET, *SHELL_WORDS} or (PROJECT / program).is_file(), f"{program} is no known program"
    assert set(line.variables) <= settings_read() | compose_variables()


@pytest.mark.parametrize(
    "wrong",
    [
        "imgret run --imgages x",
        "imgret querry a.jpg",
        "imgret query a.jpg --mode fast",
        "imgret known",
        "imgret review decide a.jpg b.jpg --verdict same",
        "imgret reshard many",
        "docker compose exec code imgret rum",
    ],
)
def test_a_wrong_command_is_noticed(wrong: str) -> None:
    (words,) = Shown("some.md", wrong).imgret
    with pytest.raises(click.UsageError):
        parse_command(words)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    inline = {word for page in PAGES for word in re.findall(r"`make ([a-z-]+)`", page_text(page))}
    called = {words[1] for line in all_shown() for words in line.commands if words[:1] == ["make"]}
    assert called
    assert called | inline <= targets


def test_services_of_compose_exist() -> None:
    services = set(yaml.safe_load((PROJECT / "docker-compose.yml").read_text(encoding="utf-8"))["services"])
    shown = " ".join(line.line for line in all_shown()) + page_text(PROJECT / "docs/operate/compose.md")
    named = set(re.findall(r"compose\.env (?:exec|logs|run --rm) ([a-z0-9]+)", shown))
    assert named
    assert named <= services
    assert set(re.findall(r"^\| `([a-z0-9]+)` \|", text_of("docs/operate/compose.md"), re.MULTILINE)) == services


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_sentences_exist(page: Path) -> None:
    """`imgret …` in a sentence may leave arguments out, but not invent commands and options."""
    for code in INLINE.findall(re.sub(r"^```.*?^```$", "", page_text(page), flags=re.DOTALL | re.MULTILINE)):
        words = code.replace("\\|", "|").split()
        if not words or words[0] not in IMGRET:
            continue
        words = words[1 : words.index("|")] if "|" in words else words[1:]
        if not words or words[0].isupper():  # imgret COMMAND
            continue
        assert words[0] in COMMANDS or words[0].startswith("-") or words[0] == "…", code
        known, left = options_of(words)
        assert {word.partition("=")[0] for word in left if re.match(r"--?[a-z0]", word)} <= known, code


def test_every_option_is_on_a_page_or_in_help() -> None:
    """Commands and their subcommands are all named somewhere; their options are listed by --help."""
    everything = "\n".join(page_text(page) for page in PAGES)
    context = click.Context(imgret)
    for name in imgret.list_commands(context):
        command = imgret.get_command(context, name)
        assert re.search(rf"imgret {name}\b", everything), name
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                shown = re.search(rf"imgret {name} (\S+ )*{inner}\b", everything)
                assert shown or (name, inner) == ("models", "list"), f"imgret {name} {inner} is on no page"


def test_the_list_of_what_is_not_run_has_nothing_left_over() -> None:
    lines = [line.plain for line in all_shown()]
    for pattern in NOT_RUN:
        assert any(re.fullmatch(pattern, line) for line in lines), f"nothing is like {pattern} any more"


# Links


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page_text(page), flags=re.DOTALL | re.M), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", LINK.sub("", head).lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page_text(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target), link


def test_the_readme_leads_to_every_page() -> None:
    linked = set(LINK.findall(text_of("README.md")))
    linked = {link.partition("#")[0] for link in linked}
    assert {page.relative_to(PROJECT).as_posix() for page in PAGES if page.name != "README.md"} <= linked


# What there is


def test_every_setting_is_on_the_settings_page_and_no_other() -> None:
    page = text_of("docs/operate/settings.md")
    rows = [VARIABLE.findall(row.split("|")[1]) for row in page.splitlines() if row.startswith("| `")]
    listed = [name for row in rows for name in row]
    assert len(listed) == len(set(listed)), "a setting has two rows"
    assert set(listed) == settings_read()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_named_exist(page: Path) -> None:
    known = settings_read() | ELSEWHERE | (compose_variables() if page.name == "compose.md" else set())
    assert set(VARIABLE.findall(page_text(page))) <= known


def test_every_package_of_the_domain_is_in_the_map() -> None:
    page = text_of("docs/architecture.md")
    packages = {file.parent.name for file in (PROJECT / "imgret_assets/domain").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `domain/(\w+)` \|", page, re.MULTILINE)) == packages


def test_every_table_is_described_with_its_columns() -> None:
    page = text_of("docs/reference/tables.md")
    schemas: dict[str, pa.Schema] = {
        "manifest": tables.MANIFEST_SCHEMA,
        "embeddings": tables.embeddings_schema(4),
        "pairs": tables.PAIRS_SCHEMA,
        "nearest": tables.NEAREST_SCHEMA,
        "duplicates": tables.DUPLICATES_SCHEMA,
        "groups": tables_module.GROUPS_SCHEMA,
        "map": tables_module.MAP_SCHEMA,
        "thresholds": tables_module.THRESHOLDS_SCHEMA,
    }
    rows = {
        match[1]: match[2].split(", ")
        for match in re.finditer(r"^\| `(\w+)/[^|]*\|[^|]*\| (.*) \|$", page, re.MULTILINE)
    }
    assert rows == {name: schema.names for name, schema in schemas.items()}


def test_every_page_of_the_app_is_described() -> None:
    pages = {DUPLICATES, COMPARE, GROUPS, GRAPH, REVIEW, OVERVIEW, SEARCH}
    for name in ("docs/guide/page.md", "README.md"):
        titles = re.findall(r"^\| ([A-Z][\w, ]*) \|", text_of(name), re.MULTILINE)
        listed = {title.strip().lower() for row in titles for title in row.split(",")}
        assert pages <= listed, name


def test_keys_are_those_of_the_page() -> None:
    files = (PROJECT / "imgret_assets/app").rglob("*.py")
    source = "\n".join(file.read_text(encoding="utf-8") for file in files)
    bound = set(re.findall(r'shortcut="(\w)"', source)) | set(re.findall(r'": "(\w)"[,}]', source))
    script = (PROJECT / "imgret_assets/app/components/triage_dialog.js").read_text(encoding="utf-8")
    bound |= set(re.findall(r"\b(\w): '\w+'", script))
    table = re.findall(r"^\| ((?:`\w`(?:, )?)+) \|", text_of("docs/guide/page.md"), re.MULTILINE)
    assert {key for row in table for key in re.findall(r"`(\w)`", row)} == bound


def test_lines_are_typed_without_surprises() -> None:
    for line in all_shown():
        assert shlex.split(line.line), line
        assert "\t" not in line.line
