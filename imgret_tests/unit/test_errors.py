"""The named errors: their messages and exit codes."""

import inspect
import pickle

import pytest

from imgret_assets import errors
from imgret_assets.domain.objects.stores import ObjectError, ObjectStoreError
from imgret_assets.errors import (
    EXIT_FAILED,
    EXIT_USAGE,
    DecisionError,
    ImageError,
    ImgretError,
    QueryError,
    SettingError,
    TableError,
    error_chain,
    first_line,
)
from imgret_assets.object_url import ObjectUrl

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ImgretError)]


def test_a_message_has_found_expected_and_remedy() -> None:
    error = TableError("a.parquet is of another space.", expected="space x", remedy="remove it")
    assert str(error) == "a.parquet is of another space. Expected: space x. What to do: remove it."
    assert (error.found, error.expected, error.remedy) == ("a.parquet is of another space.", "space x", "remove it")


def test_empty_parts_are_left_out_of_the_message() -> None:
    assert str(ImgretError("It is gone")) == "It is gone."
    assert str(ImgretError("It is gone", remedy="look for it")) == "It is gone. What to do: look for it."


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_the_exit_code_of_wrong_use_is_2_and_of_failure_1(kind: type[ImgretError]) -> None:
    assert kind("x").exit_code == (
        EXIT_USAGE if kind in (SettingError, ImageError, QueryError, DecisionError) else EXIT_FAILED
    )


@pytest.mark.parametrize(("message", "line"), [("one\ntwo", "one"), ("", ""), ("\nsecond", "")])
def test_the_first_line_of_a_message(message: str, line: str) -> None:
    assert first_line(ValueError(message)) == line


def test_a_chain_of_errors_has_each_once_though_it_may_be_a_circle() -> None:
    first, second, third = ValueError("1"), OSError("2"), KeyError("3")
    first.__cause__, second.__context__, third.__cause__ = second, third, first
    assert list(error_chain(first, "__cause__", "__context__")) == [first, second, third]
    assert list(error_chain(first, "__cause__")) == [first, second]
    second.__cause__ = second
    assert list(error_chain(second, "__cause__", "__context__")) == [second]


@pytest.mark.parametrize(
    "error",
    [
        TableError("a is of another space", expected="space x", remedy="remove it"),
        # Its class takes other arguments than a message.
        ObjectStoreError(ObjectError(13, "the store refuses access", ObjectUrl("s3", "bucket", "a.jpg"))),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_reaches_another_process_whole(error: ImgretError) -> None:
    there = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(there) is type(error)
    assert (str(there), there.found, there.remedy) == (str(error), error.found, error.remedy)
