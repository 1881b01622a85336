"""The record that a home keeps of how far its engines are from the reference.

Belongs here: reading it. Not here: making it (`imgret_assets.domain.inference.engine_agreement`).
"""

import json
from pathlib import Path

from imgret_assets.domain.inference.engine_agreement import Agreement


def recorded_agreements(space_folder: Path, name: str = "agreement.json") -> dict[str, Agreement]:
    """Read the recorded agreements of a space's folder, by engine; empty where none was measured."""
    file = space_folder / name
    return {key: Agreement(**record) for key, record in json.loads(file.read_text()).items()} if file.is_file() else {}
