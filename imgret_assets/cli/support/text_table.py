"""Columns of text for a terminal, aligned by the width that it gives to each character.

Belongs here: widths and padding. Not here: turning values into text (`cli.support.output`, `cli.support.cypher_text`).

Rich knows the widths; its own tables are not used, because they took thirty times as long (1.0 s for 5,000 rows).
"""

from collections.abc import Sequence


def display_width(text: str) -> int:
    """Return the columns of a terminal that `text` takes.

    A wide East Asian character or an emoji takes two, a combining character none, and a sequence that is drawn as one
    sign, such as a flag or an emoji with a skin colour, as many as that sign.
    """
    if text.isascii():
        return len(text)
    # Only where it is needed: most tables are ASCII, and the import would take longer than they do.
    from rich.cells import cell_len

    return cell_len(text)


def align(rows: Sequence[Sequence[str]], *, right: Sequence[bool], gap: str = "  ") -> list[str]:
    """Return the lines of a table without blanks at their ends.

    Args:
        rows: cells of each row, without line breaks; all rows have the same number of cells.
        right: for each column, whether its cells go to the right.
        gap: text between two columns.
    """
    widths = column_widths(rows)
    return [
        gap.join(
            " " * (width - display_width(text)) + text if to_right else text + " " * (width - display_width(text))
            for text, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of the widest cell of each column."""
    return [max(map(display_width, column)) for column in zip(*rows, strict=True)]
