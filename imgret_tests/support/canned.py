"""A database that gives answers made up by the test and remembers what it was asked.

Belongs here: the stand-in for `domain.graph.connection.Database`, for code that only reads. Not here: a fake Neo4j:
what a statement does is tested on a real one (`server/`).
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from neo4j import Driver

from imgret_assets.domain.graph.connection import Database

Answer = list[dict[str, Any]] | Callable[[dict[str, Any]], list[dict[str, Any]]]


class CannedDatabase(Database):
    """Answers each known statement with rows, or with what a function makes of its parameters."""

    def __init__(self, answers: Mapping[str, Answer], *, gds: bool = True, version: str = "2026.01.4") -> None:
        super().__init__(cast("Driver", None), None, "bolt://canned", version)
        self.answers = dict(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._gds = gds

    def rows(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        self.asked.append((statement, dict(parameters or {})))
        answer = self.answers[statement]
        return answer(dict(parameters or {})) if callable(answer) else answer

    def parameters_of(self, statement: str) -> list[dict[str, Any]]:
        """With which parameters a statement was asked, in order."""
        return [parameters for asked, parameters in self.asked if asked == statement]
