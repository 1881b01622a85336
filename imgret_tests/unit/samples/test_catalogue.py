"""The designs of the drawn catalogue, and the images of one design."""

from imgret_assets.samples.catalogue import designs, draw_family


def test_designs_have_unique_names_with_cars_first() -> None:
    products = designs()
    assert len({design.name for design in products}) == len(products) >= 40
    assert all(design.label.startswith("cars/") for design in products[:16])
    assert len({design.label for design in products}) >= 20


def test_a_family_has_its_variants_and_exact_duplicates() -> None:
    number = 3  # one of the designs with an exact duplicate in the new arrivals
    images = {image.path: image for image in draw_family(designs()[number], number)}
    variants = {image.variant for image in images.values()}
    assert variants >= {"studio", "plain", "colour", "angle", "scene-1", "scene-2", "crop", "copy"}
    duplicates = [image for image in images.values() if image.variant == "copy"]
    assert [image.label for image in duplicates] == ["new-arrivals"]
    assert all(image.data == images[image.copy_of].data for image in duplicates)
    originals = [image.data for image in images.values() if image.variant != "copy"]
    assert len(set(originals)) == len(originals)
