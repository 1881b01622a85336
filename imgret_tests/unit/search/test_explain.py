"""Which limit decides; measuring two files is tested through the command (`cli/test_explain_command.py`)."""

import pytest

from imgret_assets.domain.search.explain import judge, verdict


@pytest.mark.parametrize(
    ("same_bytes", "phash_bits", "correlation", "cosine", "kind", "why"),
    [
        (True, 0, 1.0, 1.0, "exact", "the same bytes"),
        (False, 64, 0.96, 0.5, "near", "the same image: phash bits 64 is <= 64 of 256, correlation 0.9600 is"),
        (False, 65, 0.99, 0.9, "similar", "phash bits 65 is not <= 64 of 256; cosine 0.9000 is > 0.8"),
        (False, 64, 0.9599, 0.9, "similar", "no duplicate: correlation 0.9599 is not >= 0.96; "),
        (False, 10, 0.99, 0.49, "different", "cosine of a near-duplicate 0.4900 is not >= 0.5; cosine 0.4900 is not"),
        (False, 200, 0.1, 0.8, "different", "cosine 0.8000 is not > 0.8"),
        (False, None, None, 0.81, "similar", "no duplicate: an image has no structure; cosine 0.8100 is > 0.8"),
    ],
)
def test_the_first_limit_that_fails_decides(
    same_bytes: bool, phash_bits: int | None, correlation: float | None, cosine: float, kind: str, why: str
) -> None:
    found_kind, found_why = verdict(judge(same_bytes, phash_bits, correlation, cosine, 0.8))
    assert found_kind == kind
    assert why in found_why
