"""Counts in messages.

Belongs here: a count with its noun, as every message writes it. Not here: messages.
"""


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 image`, `2,000 images`, `1 copy of a file`, `2 copies of a file`.

    Args:
        count: how many.
        noun: the singular; what follows a first ` of ` stays as it is.
    """
    word, of, rest = noun.partition(" of ")
    if count != 1:
        word = f"{word[:-1]}ies" if word.endswith("y") and word[-2] not in "aeiou" else f"{word}s"
    return f"{count:,} {word}{of}{rest}"
