"""The list of relationship kinds between two :Image nodes.

Belongs here: what each kind is called, what it is built from, what it holds, who writes it, how it is drawn. Not here:
statements (`domain.graph.cypher`), which relationships there should be (each kind's `table_module`), writing them
(`domain.graph.relationship_sync`, `domain.graph.similar_to`).

A new kind is one table module (like `domain.graph.duplicate_of`), one entry of `KINDS` and one asset that writes it
(`defs.assets.graph.relationships`). Cypher, asset checks, export and page follow from the entry.

This module imports nothing of the project: `imgret query` and the page load it at every start.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_GRAPH = "imgret_assets.domain.graph"


@dataclass(frozen=True)
class LineStyle:
    """How the page draws a relationship.

    Attributes:
        pattern: `solid` or `dashed`.
        colour: its name in Streamlit's Markdown, such as `violet`.
    """

    pattern: str
    colour: str


@dataclass(frozen=True)
class RelationshipKind:
    """A kind of relationship.

    Attributes:
        name: its type in Neo4j, and in the column `type` of an export.
        table_module: dotted name of the module that implements `relationship_sync.RelationshipTable` for it.
        source: what the relationships are made from, in words, for messages.
        direction: from which image to which, in words.
        properties: the properties in Neo4j and their Cypher types.
        asset: the Dagster asset that writes it.
        check: the asset check that compares it with its source.
        table_asset: the Dagster asset of the table it is made from; None where people write that file.
        export_columns: columns of an exported row, besides its ends and its type, and their Arrow types; None where
            the kind is not exported.
        line: how the page draws it; None where the page does not show it. While a kind that is shown is written, the
            graph counts as `refreshing`.
    """

    name: str
    table_module: str
    source: str
    direction: str
    properties: Mapping[str, str]
    asset: str
    check: str
    table_asset: str | None = None
    export_columns: Mapping[str, str] | None = None
    line: LineStyle | None = None

    @property
    def has_score(self) -> bool:
        """True where each relationship has a score, which a lowest score can exclude."""
        return "score" in self.properties


SIMILAR_TO = RelationshipKind(
    name="SIMILAR_TO",
    table_module=f"{_GRAPH}.similar_to",
    source="the rows of the pairs table",
    direction="from the smaller path to the larger",
    properties=MappingProxyType({"score": "FLOAT", "model": "STRING"}),
    asset="similar_to",
    check="relationships_equal_pairs",
    table_asset="similarity_pairs",
    export_columns=MappingProxyType({"score": "double"}),
    line=LineStyle("solid", "gray"),
)
DUPLICATE_OF = RelationshipKind(
    name="DUPLICATE_OF",
    table_module=f"{_GRAPH}.duplicate_of",
    source="the rows of the duplicates table",
    direction="from the duplicate to the image to keep",
    properties=MappingProxyType({"kind": "STRING", "distance": "INTEGER", "reason": "STRING"}),
    asset="duplicate_of",
    check="relationships_equal_duplicates",
    table_asset="duplicates",
    export_columns=MappingProxyType({"score": "double", "kind": "string", "distance": "int32", "reason": "string"}),
    line=LineStyle("dashed", "violet"),
)
DECIDED = RelationshipKind(
    name="DECIDED",
    table_module=f"{_GRAPH}.decided",
    source="the decisions in force about images of the graph",
    direction="from the smaller path to the larger",
    properties=MappingProxyType({"verdict": "STRING", "at": "ZONED DATETIME", "by": "STRING", "keep": "STRING"}),
    asset="decided",
    check="relationships_equal_decisions",
    export_columns=MappingProxyType({"verdict": "string", "keep": "string", "by": "string", "at": "string"}),
)
KINDS = (SIMILAR_TO, DUPLICATE_OF, DECIDED)
