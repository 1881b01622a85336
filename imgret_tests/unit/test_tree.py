"""The tests of the unit ring mirror the tree of the modules they test."""

from pathlib import Path

from imgret_assets.locations import PROJECT

UNIT = PROJECT / "imgret_tests/unit"
PRODUCT = PROJECT / "imgret_assets"


def module_of(test_file: Path) -> Path:
    """Return the module that a test file of the unit ring is named for, without the suffix."""
    name = test_file.relative_to(UNIT).with_name(test_file.stem.removeprefix("test_"))
    top_level = len(name.parts) == 1 or name.parts[0] == "samples"
    return PRODUCT / name if top_level else PRODUCT / "domain" / name


def test_every_test_file_is_named_for_a_module_in_the_same_package() -> None:
    files = [file for file in UNIT.rglob("test_*.py") if file != Path(__file__)]
    assert files
    assert [str(file) for file in files if not module_of(file).with_suffix(".py").is_file()] == []


def test_every_package_of_the_domain_has_tests_of_its_own() -> None:
    packages = {file.parent.name for file in (PRODUCT / "domain").glob("*/__init__.py")}
    assert packages - {folder.name for folder in UNIT.iterdir() if folder.is_dir()} == set()
