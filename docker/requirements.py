"""Print the dependencies in pyproject.toml, with those of the extra `postgres`, for an image layer without the code."""

import tomllib
from pathlib import Path

PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
print("\n".join([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["postgres"]]))
