"""Counts, scores and shares in messages.

Belongs here: a count with its noun, a score, and a share, as every message and page writes them. Not here: messages.
"""

# Rounding of float64: a score that is nearer to 1 is that of two equal vectors.
_EQUAL = 1e-9


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


def score_text(score: float, digits: int = 3) -> str:
    """Return a score with a fixed number of decimals; only that of equal vectors is written as 1.

    Args:
        score: a cosine, or another measure that is 1 for equal images only.
        digits: number of decimals.
    """
    text = f"{score:.{digits}f}"
    if score < 1 - _EQUAL and float(text) >= 1:
        return f"{1 - 10**-digits:.{digits}f}"
    return text


def percent_text(share: float, digits: int = 1) -> str:
    """Return a share as a percentage with a fixed number of decimals; only the whole is written as 100%."""
    return f"{float(score_text(share, digits + 2)):.{digits}%}"
