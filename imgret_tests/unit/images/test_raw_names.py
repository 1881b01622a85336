"""Tests of the names of one shot."""

from imgret_assets.domain.images.raw_names import jpegs_of_shots


def test_a_raw_file_has_the_jpegs_of_its_name() -> None:
    names = ["a.NEF", "a.JPG", "a.jpeg", "b.dng", "b.png", "c.jpg", "A.jpg", "d.cr2", "d.small.jpg", "e.arw", "e.Jpg"]
    assert jpegs_of_shots(names) == {"a.NEF": ["a.JPG", "a.jpeg"], "e.arw": ["e.Jpg"]}
    assert jpegs_of_shots([]) == {}
