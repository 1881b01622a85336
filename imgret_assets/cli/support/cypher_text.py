"""Cypher text and values for `imgret db shell`.

Belongs here: splitting a script into statements, parsing `:` commands, formatting values and tables. Not here: the
server and the terminal (`cli.db_shell`), the statements that imgret itself sends (`domain.graph.cypher`).
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imgret_assets.cli.support.text_table import align, column_widths
from imgret_assets.terminal import printable

# Strings, quoted names and comments, each up to its end or the end of the text; a `;` inside does not end a statement.
_TOKEN = re.compile(
    r"""
    (?P<blank>   \s+ | //[^\n]*(?:\n|\Z) | /\*.*?\*/ )
  | (?P<open>    /\*.*\Z
               | '(?:\\.|[^'\\])*\\?\Z
               | "(?:\\.|[^"\\])*\\?\Z
               | `(?:``|[^`])*\Z )
  | (?P<quoted>  '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | `(?:``|[^`])*` )
  | (?P<end>     ; )
  | (?P<other>   [^\s;'"`/]+ | / )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMAND = re.compile(r":[^\n]*(?:\n|\Z)")
SHOWN_ITEMS = 2
LONGEST_LIST = 8
HELP = """\
Statements end with ; and may run over several lines.
:param NAME VALUE   set a parameter, used as $NAME: a JSON or Cypher literal
:embed NAME IMAGE   set a parameter to an image's vector
:params             show the parameters
:help               show this text
:exit               leave"""


@dataclass(frozen=True)
class Command:
    """A line such as `:param top_k 5`; `rest` is what follows the name."""

    name: str
    rest: str

    def name_and_value(self) -> tuple[str, str] | None:
        """Return the two words of `:param` and `:embed`; `NAME => VALUE`, as in cypher-shell, is accepted, too."""
        match = re.fullmatch(r"`?(\w+)`?(?:\s*=>\s*|\s*:\s+|\s+)(\S.*)", self.rest, re.DOTALL)
        return (match[1], match[2]) if match else None


def split(text: str) -> tuple[list[str | Command], str]:
    """Split a script into statements and commands.

    Args:
        text: Cypher statements, each with a `;` at its end, and commands, each on a line of its own.

    Returns:
        The complete statements, in order and without the `;`, and the unfinished rest ("" if it has only blanks and
        comments).
    """
    parts: list[str | Command] = []
    start = position = 0
    empty = True  # only blanks and comments since `start`
    while position < len(text):
        if empty and text[position] == ":" and (line := _COMMAND.match(text, position)):
            name, _, rest = line[0][1:].strip().removesuffix(";").strip().partition(" ")
            parts.append(Command(name.lower(), rest.strip()))
            start = position = line.end()
            continue
        token = _TOKEN.match(text, position)
        if token is None:  # impossible: every character begins one of the alternatives
            raise AssertionError(text[position])
        if token.lastgroup == "end":
            if not empty:
                parts.append(text[start:position].strip())
            start, empty = token.end(), True
        elif token.lastgroup != "blank":
            empty = False
        position = token.end()
    return parts, "" if empty else text[start:].strip()


def evaluation(expression: str) -> str:
    """Return a statement whose row has the value of an expression that a user typed."""
    return f"RETURN {expression} AS value"


def show(value: Any, *, nested: bool = False) -> str:
    """Format a value as Cypher writes it; of long lists only the first numbers and the length."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return printable(json.dumps(value, ensure_ascii=False) if nested else value)
    if isinstance(value, float):
        return f"{value:.6g}" if nested else repr(value)
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes"
    if isinstance(value, list | tuple):
        return _show_list(value)
    return _show_entity(value)


def _show_list(values: Sequence[Any]) -> str:
    numbers = all(isinstance(value, int | float) for value in values)
    if len(values) <= LONGEST_LIST:
        return f"[{', '.join(show(value, nested=True) for value in values)}]"
    first = ", ".join(show(value, nested=True) for value in values[:SHOWN_ITEMS])
    return f"[{first}, … {len(values)} {'numbers' if numbers else 'items'}]"


def _show_entity(value: Any) -> str:
    from neo4j.graph import Node, Path, Relationship
    from neo4j.vector import Vector

    if isinstance(value, Node):
        labels = "".join(f":{label}" for label in sorted(value.labels))
        return f"({' '.join(part for part in (labels, _show_map(value)) if part)})"
    if isinstance(value, Relationship):
        return f"[{' '.join(part for part in (f':{value.type}', _show_map(value)) if part)}]"
    if isinstance(value, Path):
        return _show_path(value)
    if isinstance(value, Vector):
        return _show_list(value.to_native())
    return (_show_map(value) or "{}") if isinstance(value, Mapping) else str(value)


def _show_map(value: Any) -> str:
    pairs = ", ".join(f"{key}: {show(item, nested=True)}" for key, item in sorted(value.items()))
    return f"{{{pairs}}}" if pairs else ""


def _show_path(path: Any) -> str:
    shown = show(path.nodes[0])
    for relationship, node in zip(path.relationships, path.nodes[1:], strict=True):
        is_forward = relationship.end_node == node
        shown += f"{'-' if is_forward else '<-'}{show(relationship)}{'->' if is_forward else '-'}{show(node)}"
    return shown


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Format rows under their columns, padded; numbers are aligned to the right."""
    values = [list(row) for row in rows]
    cells = [list(columns), *([show(value) for value in row] for row in values)]
    right = [
        bool(values) and all(isinstance(row[column], int | float) or row[column] is None for row in values)
        for column in range(len(columns))
    ]
    head, *lines = align(cells, right=right, gap=" | ")
    rule = "-+-".join("-" * width for width in column_widths(cells))
    return "\n".join([head, rule, *lines])


def summary(rows: int, counters: Any, took_ms: float) -> str:
    """Summarise what a statement returned and changed in one line, such as `2 rows, 1 node created, 3 ms`."""
    numbers = {name: getattr(counters, name) for name in _COUNTERS}
    changes = [_count(number, words) for name, words in _COUNTERS.items() if (number := numbers[name])]
    returned = [] if changes and not rows else [_count(rows, "row")]
    return ", ".join([*returned, *changes, f"{took_ms:.0f} ms"])


_COUNTERS = {
    "nodes_created": "node created",
    "nodes_deleted": "node deleted",
    "relationships_created": "relationship created",
    "relationships_deleted": "relationship deleted",
    "properties_set": "property set",
    "labels_added": "label added",
    "labels_removed": "label removed",
    "indexes_added": "index added",
    "indexes_removed": "index removed",
    "constraints_added": "constraint added",
    "constraints_removed": "constraint removed",
    "system_updates": "system update",
}
_PLURALS = {"property": "properties", "index": "indexes"}


def _count(number: int, words: str) -> str:
    noun, _, verb = words.partition(" ")
    plural = noun if number == 1 else _PLURALS.get(noun, f"{noun}s")
    return f"{number} {plural} {verb}".rstrip()
