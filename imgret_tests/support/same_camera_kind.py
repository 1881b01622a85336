"""The entry of a fourth kind of relationship, SAME_CAMERA, in the list of kinds.

Belongs here: the entry. Not here: its table module (`imgret_tests.support.same_camera`), which imports modules that
read the list.
"""

from imgret_assets.domain.graph.relationship_kinds import LineStyle, RelationshipKind

SAME_CAMERA = RelationshipKind(
    name="SAME_CAMERA",
    table_module="imgret_tests.support.same_camera",
    source="the images of one camera in the cameras table",
    direction="from one image of a camera to its next",
    properties={"camera": "STRING"},
    asset="same_camera",
    check="relationships_equal_cameras",
    export_columns={"camera": "string"},
    line=LineStyle("dashed", "green"),
)
