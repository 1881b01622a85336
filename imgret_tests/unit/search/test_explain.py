"""Which limit decides; measuring two files is tested through the command (`cli/test_explain_command.py`)."""

import pytest

from imgret_assets.domain.duplicates.confirmation import Comparison
from imgret_assets.domain.search.explain import judge, verdict

SAME = Comparison("same", "the same picture", 0.2)
EDITED = Comparison("changed", "1.2% of the area differs", 9.0)
OTHER = Comparison("different", "another colour", 0.5)


@pytest.mark.parametrize(
    ("same_bytes", "phash_bits", "correlation", "cosine", "comparison", "kind", "why"),
    [
        (True, 0, 1.0, 1.0, None, "exact", "the same bytes"),
        (False, 64, 0.9, 0.3, SAME, "near", "the same image: phash bits 64 is <= 64 of 256, correlation 0.9000 is"),
        (False, 64, 0.9, 0.3, SAME, "near", "pixels: the same picture"),
        (False, 3, 0.99, 0.9, EDITED, "look_first", "the same scene, but 1.2% of the area differs"),
        (False, 3, 0.99, 0.9, OTHER, "similar", "no duplicate: pixels: another colour; cosine 0.9000 is > 0.8"),
        (False, 65, 0.99, 0.9, None, "similar", "phash bits 65 is not <= 64 of 256; cosine 0.9000 is > 0.8"),
        (False, 64, 0.8999, 0.9, None, "similar", "no duplicate: correlation 0.8999 is not >= 0.9; "),
        (False, 200, 0.1, 0.8, None, "different", "cosine 0.8000 is not > 0.8"),
        (False, None, None, 0.81, None, "similar", "no duplicate: an image has no structure; cosine 0.8100 is > 0.8"),
    ],
)
def test_the_first_limit_that_fails_decides(
    same_bytes: bool,
    phash_bits: int | None,
    correlation: float | None,
    cosine: float,
    comparison: Comparison | None,
    kind: str,
    why: str,
) -> None:
    criteria = judge(same_bytes, phash_bits, correlation, cosine, 0.8, comparison=comparison)
    found_kind, found_why = verdict(criteria, comparison)
    assert found_kind == kind
    assert why in found_why


def test_other_proportions_decide_before_the_pixels() -> None:
    criteria = judge(False, 3, 0.99, 0.7, 0.8, like_proportions=False)
    assert verdict(criteria)[1].startswith("no duplicate: like proportions: no;")
