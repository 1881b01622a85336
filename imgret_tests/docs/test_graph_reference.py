"""The reference of the graph names every relationship kind and every property of the code's lists."""

import re

import pytest

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.relationship_kinds import KINDS, RelationshipKind
from imgret_assets.locations import PROJECT
from imgret_tests.support.docs_commands import page_text

PAGE = " ".join(page_text(PROJECT / "docs/reference/graph.md").split())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_relationship_kind_is_described_with_its_properties(kind: RelationshipKind) -> None:
    described = re.search(rf"\[:{kind.name} \{{([^}}]*)\}}\]->", PAGE)
    assert described, kind.name
    # A property that only some relationships of the kind have is named in the sentence that follows.
    assert set(described[1].split(", ")) <= set(kind.properties)
    for name in kind.properties:
        assert re.search(rf"[`{{ ]{name}[`}},]", PAGE), f"{kind.name}.{name}"


def test_the_page_describes_no_other_kind() -> None:
    assert set(re.findall(r"\[:([A-Z_]+) \{", PAGE)) == {kind.name for kind in KINDS}


def test_the_kinds_that_are_repaired_are_all_kinds() -> None:
    [sentence] = re.findall(r"imgret repairs ([^.]*) relationships", PAGE)
    assert set(re.findall(r"`([A-Z_]+)`", sentence)) == {kind.name for kind in KINDS}


def test_every_property_of_a_node_is_listed() -> None:
    [properties] = re.findall(r"\(:Image \{([^}]*)\}\)", PAGE)
    assert set(properties.split(", ")) == {*cypher.NODE_FACTS, "embeddings", "shard", "group", "indexed_at"}


def test_every_property_of_the_vector_index_is_listed() -> None:
    [properties] = re.findall(r"the properties that queries filter by, too \(([^)]*)\)", PAGE)
    assert re.findall(r"`(\w+)`", properties) == list(cypher.INDEXED_PROPERTIES)
