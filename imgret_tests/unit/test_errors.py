import inspect

import pytest

from imgret_assets import errors
from imgret_assets.errors import (
    EXIT_FAILED,
    EXIT_USAGE,
    DecisionError,
    ImageError,
    ImgretError,
    SettingError,
    TableError,
    first_line,
)

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ImgretError)]


def test_a_message_says_found_expected_and_remedy() -> None:
    error = TableError("a.parquet is of another space.", expected="space x", remedy="remove it")
    assert str(error) == "a.parquet is of another space. Expected: space x. What to do: remove it."
    assert (error.found, error.expected, error.remedy) == ("a.parquet is of another space.", "space x", "remove it")


def test_parts_that_are_not_given_are_left_out() -> None:
    assert str(ImgretError("It is gone")) == "It is gone."
    assert str(ImgretError("It is gone", remedy="look")) == "It is gone. What to do: look."


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_wrong_use_exits_with_2_and_failure_with_1(kind: type[ImgretError]) -> None:
    assert kind("x").exit_code == (EXIT_USAGE if kind in (SettingError, ImageError, DecisionError) else EXIT_FAILED)


@pytest.mark.parametrize(("message", "line"), [("one\ntwo", "one"), ("", ""), ("\nsecond", "")])
def test_first_line(message: str, line: str) -> None:
    assert first_line(ValueError(message)) == line
