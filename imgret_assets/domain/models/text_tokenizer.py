"""Text tokenizers: from a text to the numbers that a text tower takes.

Belongs here: cleaning and tokenizing as open_clip does, the files of a tokenizer. Not here: which tokenizer a model has
(`domain.models.families`), running a text tower (`domain.inference.text_engine`). Nothing here imports torch: a query
of a converted text tower must start quickly.
"""

import html
import importlib
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgret_assets.errors import ModelError, QueryError, first_line
from imgret_assets.locations import install_command

if TYPE_CHECKING:
    import tokenizers

VOCABULARY_FILE, RULES_FILE = "tokenizer.json", "text.json"
FILES = (VOCABULARY_FILE, RULES_FILE)
# How open_clip splits a cleaned text into words, without the names of special tokens: a text is nothing but text.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Tokens:
    """A text as a text tower takes it.

    Attributes:
        ids: int64 (1, context_length).
        truncated: the text has more tokens than that; the tower does not see its end.
    """

    ids: np.ndarray
    truncated: bool


@dataclass(frozen=True)
class TokenizerRules:
    """What is not in the vocabulary.

    Attributes:
        context_length: number of tokens that a text tower takes, with those of start and end.
        clean: `lower`, `canonicalize` (also without punctuation) or `whitespace` (neither).
        start, end: ids of the tokens around a text.
    """

    context_length: int
    clean: str
    start: int
    end: int


class TextTokenizer:
    """Byte pair encoding of CLIP: the ids are those of open_clip's `SimpleTokenizer`."""

    def __init__(self, vocabulary: "tokenizers.Tokenizer", rules: TokenizerRules) -> None:
        """Take a vocabulary and the rules for texts; `create` and `read` make both."""
        self.rules = rules
        self._vocabulary = vocabulary

    @classmethod
    def create(
        cls, ids: Mapping[str, int], merges: Sequence[tuple[str, str]], rules: TokenizerRules
    ) -> "TextTokenizer":
        """Create a tokenizer.

        Args:
            ids: id of each token.
            merges: pairs of tokens that become one, the most frequent first.
            rules: the rules for texts.
        """
        tokenizers = _import("tokenizers")
        model = tokenizers.models.BPE(dict(ids), list(merges), end_of_word_suffix="</w>")
        vocabulary = tokenizers.Tokenizer(model)
        vocabulary.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return cls(vocabulary, rules)

    @classmethod
    def read(cls, folder: Path) -> "TextTokenizer":
        """Read the tokenizer that `write` has written to a folder.

        Raises:
            ModelError: a file is missing or damaged, or the packages of the extra `clip` are missing.
        """
        tokenizers = _import("tokenizers")
        try:
            rules = TokenizerRules(**json.loads((folder / RULES_FILE).read_text(encoding="utf-8")))
            vocabulary = tokenizers.Tokenizer.from_file(str(folder / VOCABULARY_FILE))
        except Exception as error:  # tokenizers raises bare exceptions
            raise ModelError(
                f"The tokenizer in {folder} can't be read ({type(error).__name__}: {first_line(error)})",
                remedy=f"remove {folder} and ask again, which converts the text tower again",
            ) from error
        return cls(vocabulary, rules)

    def write(self, folder: Path) -> None:
        """Write the tokenizer to a folder, which exists."""
        self._vocabulary.save(str(folder / VOCABULARY_FILE), pretty=False)
        (folder / RULES_FILE).write_text(json.dumps(asdict(self.rules)), encoding="utf-8")

    @property
    def size(self) -> int:
        """Number of token ids, with those of start and end."""
        return max(self._vocabulary.get_vocab_size(), self.rules.start + 1, self.rules.end + 1)

    def encode(self, text: str) -> Tokens:
        """Return a text's tokens; ids after its end are 0.

        Raises:
            QueryError: nothing is left of the text after cleaning.
        """
        cleaned = clean_text(text, self.rules.clean)
        words = _import("regex").findall(_WORDS, cleaned, _import("regex").IGNORECASE)
        if not words:
            raise QueryError(f"The text {text[:40]!r} has no words", expected="words, such as `a red car in a forest`")
        space = self.rules.context_length - 2
        # Every word has at least one token.
        ids = self._vocabulary.encode(words[: space + 1], is_pretokenized=True).ids
        row = np.zeros((1, self.rules.context_length), np.int64)
        kept = [self.rules.start, *ids[:space], self.rules.end]
        row[0, : len(kept)] = kept
        return Tokens(row, len(ids) > space)


def clean_text(text: str, way: str) -> str:
    """Return a text as open_clip cleans it before it is tokenized.

    Broken encodings are mended, control characters removed, HTML's entities replaced.

    Args:
        text: any text.
        way: `lower`, `canonicalize` or `whitespace`.
    """
    text = html.unescape(html.unescape(_import("ftfy").fix_text(text)))
    if way == "canonicalize":
        text = text.replace("_", " ").translate(_WITHOUT_PUNCTUATION)
    text = " ".join(text.split())
    return text if way == "whitespace" else text.lower()


def _import(package: str) -> Any:
    """Import a package of the extra `clip`."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise missing_package_error(package) from error


def missing_package_error(package: str) -> ModelError:
    """Return the error for a package of the extra `clip` that is not installed."""
    return ModelError(
        f"The package {package} is not installed, which models with a text tower need",
        remedy=f"`{install_command('clip')}`",
    )
