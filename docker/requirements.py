"""Prints what pyproject.toml asks for, with the extra that Postgres needs, for a layer without our own code."""

import tomllib
from pathlib import Path

PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
print("\n".join([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["postgres"]]))
