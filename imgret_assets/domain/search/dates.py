"""Dates that people write into a filter, such as `2024`, `2024-05` or `2024-05-31 10:20`, as moments.

Belongs here: parsing them, and the first and last second of what they name. Not here: the dates of photos
(`domain.images.exif_facts`), filters (`domain.search.query`).
"""

import calendar
import re
from datetime import datetime, timedelta

from imgret_assets.errors import SettingError

_TEXT = re.compile(
    r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2}))?)?)?)?",
    re.ASCII,
)
_SECOND = timedelta(seconds=1)
_LENGTHS = {3: timedelta(days=1), 5: timedelta(minutes=1), 6: _SECOND}


def first_second(text: str, name: str) -> datetime:
    """Return the first second of the year, month, day, minute or second that a text names.

    Args:
        text: such as `2024`, `2024-05`, `2024-05-31`, `2024-05-31 10:20` or `2024-05-31T10:20:30`.
        name: of the setting, for the message.

    Raises:
        SettingError: the text names none.
    """
    return _parts(text, name)[0]


def last_second(text: str, name: str) -> datetime:
    """Return the last second of the year, month, day, minute or second that a text names; see `first_second`."""
    first, given = _parts(text, name)
    if given in _LENGTHS:
        return first + (_LENGTHS[given] - _SECOND)
    month = 12 if given == 1 else first.month
    last_day = calendar.monthrange(first.year, month)[1]
    return first.replace(month=month, day=last_day, hour=23, minute=59, second=59)


def _parts(text: str, name: str) -> tuple[datetime, int]:
    """Return the first second, and how many of year, month, day, hour, minute and second are given."""
    found = _TEXT.fullmatch(text.strip())
    given = [int(part) for part in found.groups() if part is not None] if found is not None else []
    # A month and a day that are not given are the first; there is no year 0.
    year, month, day, hour, minute, second = (*given, *(0, 1, 1, 0, 0, 0)[len(given) :])
    try:
        return datetime(year, month, day, hour, minute, second), len(given)  # noqa: DTZ001
    except ValueError as error:
        raise SettingError(
            f"{name} is {text[:60]!r}",
            expected="a date, or date and time, as the camera's clock shows it and without a zone: 2024, 2024-05, "
            "2024-05-31, 2024-05-31 10:20 or 2024-05-31T10:20:30",
        ) from error
