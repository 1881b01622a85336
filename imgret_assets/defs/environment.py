"""The environment with which a Dagster command was started.

`dagster …` and `dg …` read `.env` of the working folder and put it over the environment of their process and its
children: there a setting of `.env` would win over the same setting of the environment. Belongs here: undoing that.
Not here: the settings (`imgret_assets.settings`).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path, PurePath

import psutil
from dotenv import dotenv_values

_COMMANDS = frozenset({"dagster", "dg", "dagster-webserver", "dagster-daemon"})


@dataclass(frozen=True)
class Start:
    """What a Dagster command was started with.

    Attributes:
        environment: of its process, before it read `.env`.
        file_values: the variables of `.env` in its working folder.
    """

    environment: Mapping[str, str]
    file_values: Mapping[str, str | None]


def started_environment() -> Mapping[str, str]:
    """Return this process's environment, with a Dagster command's own environment over its `.env`.

    In a process that no Dagster command has started, such as that of `imgret run`, it is `os.environ`.
    """
    start = _outermost_start()
    return os.environ if start is None else without_env_file(os.environ, start)


def without_env_file(environment: Mapping[str, str], start: Start) -> dict[str, str]:
    """Return `environment` with the start's value for every variable that has been replaced by that of `.env`.

    A variable that has another value by now was set later and keeps it, as does one without a value at the start.
    """
    replaced = {
        name: start.environment[name]
        for name, value in start.file_values.items()
        if start.environment.get(name) and environment.get(name) == value
    }
    return {**environment, **replaced}


@cache
def _outermost_start() -> Start | None:
    """Return the start of the outermost Dagster command above this process, None where there is none.

    Between it and this process there are only Dagster's commands and the processes of their steps. Where the operating
    system hides a process, such as another user's, the way up ends.
    """
    start = None
    try:
        process: psutil.Process | None = psutil.Process()
        while process is not None:
            arguments = process.cmdline()
            if is_dagster_command(arguments):
                start = Start(process.environ(), dotenv_values(Path(process.cwd()) / ".env"))
            elif not any("multiprocessing" in argument for argument in arguments):
                break
            process = process.parent()
    except psutil.Error:
        pass
    return start


def is_dagster_command(arguments: Sequence[str]) -> bool:
    """Return True for the command line of one of Dagster's commands, as a script or as `python -m`."""
    scripts = {PurePath(argument).name for argument in arguments[:2]}
    module = next((value for option, value in pairwise(arguments) if option == "-m"), "")
    return bool(scripts & _COMMANDS) or module.startswith("dagster")
