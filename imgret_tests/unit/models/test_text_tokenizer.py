"""Tokens are those of open_clip's own tokenizer."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgret_assets.domain.models.text_tokenizer import FILES, TextTokenizer, TokenizerRules, clean_text
from imgret_assets.errors import ModelError, QueryError

CONTEXT = 77
TEXTS = [
    "a red car in a forest",
    "It's the DOG'S 2nd ball -- isn't it?",
    "snake_case & &amp;amp; <b>html</b>",
    "  tabs\tand\nlines \r\n ",
    "Grüße aus Köln, naïve café",
    "красная машина в лесу",
    "森の中の赤い車、きれいな写真",
    "빨간 자동차",
    "سيارة حمراء في الغابة",
    "रेड कार",
    "👩‍👩‍👧‍👦 🚗🌲",
    "null\x00byte \x07bell \x1b[31mred\x1b[0m",
    "zero\u200bwidth and \u202eright to left",
    "mojibake: Ã¼ber schÃ¶n",
    "\ud800 lone surrogate",
    "ﬁ ligature, ſ long s, it'ſ",
    "x" * 500,
    "word " * 200,
    "1234567890 12 3",
    "!?.,;:",
]


def original(clean: str) -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer(context_length=CONTEXT, clean=clean)


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, tuple[open_clip.SimpleTokenizer, TextTokenizer]]:
    """open_clip's tokenizer and ours, by the way of cleaning."""
    pairs = {}
    for clean in ("lower", "canonicalize", "whitespace"):
        theirs = original(clean)
        ids = {token: number for token, number in theirs.encoder.items() if number not in theirs.all_special_ids}
        merges = [(first, second) for first, second in theirs.bpe_ranks]
        rules = TokenizerRules(CONTEXT, clean, theirs.sot_token_id, theirs.eot_token_id)
        pairs[clean] = theirs, TextTokenizer.create(ids, merges, rules)
    return pairs


@pytest.mark.parametrize("clean", ["lower", "canonicalize", "whitespace"])
@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_open_clip_s(
    tokenizers: dict[str, tuple[open_clip.SimpleTokenizer, TextTokenizer]], text: str, clean: str
) -> None:
    theirs, ours = tokenizers[clean]
    if not theirs.encode(text):
        with pytest.raises(QueryError, match="has no words"):
            ours.encode(text)
        return
    tokens = ours.encode(text)
    assert tokens.ids.dtype == np.int64
    np.testing.assert_array_equal(tokens.ids, theirs([text]).numpy())
    assert tokens.truncated == (len(theirs.encode(text)) > CONTEXT - 2)
    assert tokens.truncated == (text in ("x" * 500, "word " * 200)) or clean == "canonicalize"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_tokens_of_any_text_are_open_clip_s(
    tokenizers: dict[str, tuple[open_clip.SimpleTokenizer, TextTokenizer]], text: str
) -> None:
    theirs, ours = tokenizers["lower"]
    if theirs.encode(text):
        np.testing.assert_array_equal(ours.encode(text).ids, theirs([text]).numpy())


def test_the_name_of_a_special_token_is_text(
    tokenizers: dict[str, tuple[open_clip.SimpleTokenizer, TextTokenizer]],
) -> None:
    """open_clip would end the text there."""
    theirs, ours = tokenizers["lower"]
    ids = ours.encode("a cat <end_of_text> a dog").ids[0].tolist()
    assert ids.count(theirs.eot_token_id) == 1
    assert theirs(["a cat <end_of_text> a dog"])[0].tolist().count(theirs.eot_token_id) == 2


@pytest.mark.parametrize("text", ["", " ", "\n\t\r", "\x00\x01", "&nbsp;"])
def test_a_text_without_words_is_refused(
    tokenizers: dict[str, tuple[open_clip.SimpleTokenizer, TextTokenizer]], text: str
) -> None:
    with pytest.raises(QueryError, match=r"has no words.*a red car in a forest"):
        tokenizers["lower"][1].encode(text)


def test_a_tokenizer_is_written_and_read(
    tokenizers: dict[str, tuple[open_clip.SimpleTokenizer, TextTokenizer]], tmp_path: Path
) -> None:
    _, ours = tokenizers["canonicalize"]
    ours.write(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(FILES)
    again = TextTokenizer.read(tmp_path)
    assert again.rules == ours.rules
    assert again.size == ours.size == 49408
    for text in TEXTS[:5]:
        np.testing.assert_array_equal(again.encode(text).ids, ours.encode(text).ids)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_tokenizer_is_an_error(
    tokenizers: dict[str, tuple[open_clip.SimpleTokenizer, TextTokenizer]], tmp_path: Path, name: str
) -> None:
    tokenizers["lower"][1].write(tmp_path)
    (tmp_path / name).write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match=r"tokenizer in .* can't be read.*converts the text tower again"):
        TextTokenizer.read(tmp_path)


def test_cleaning() -> None:
    assert clean_text(" Hello,\x07  WORLD_&amp; ", "lower") == "hello, world_&"
    assert clean_text(" Hello,\x07  WORLD_&amp; ", "canonicalize") == "hello world"
    assert clean_text(" Hello,\x07  WORLD_&amp; ", "whitespace") == "Hello, WORLD_&"
