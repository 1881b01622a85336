"""Print the dependencies of pyproject.toml and its extras `postgres` and `api`, for an image layer without the code."""

import tomllib
from pathlib import Path

PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
print("\n".join([*PROJECT["dependencies"], *EXTRAS["postgres"], *EXTRAS["api"]]))
