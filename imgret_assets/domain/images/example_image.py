"""An example image of a library, for a query that shall work as it stands.

Belongs here: choosing it from the manifest. Not here: the drawn samples and their queries (`samples.folders`).
"""

from pathlib import Path

from imgret_assets.domain.images.image_status import Status
from imgret_assets.domain.storage import tables
from imgret_assets.errors import SettingError, TableError
from imgret_assets.image_roots import ImageRoots
from imgret_assets.object_url import ImageFile, ObjectUrl


def find_example(warehouse: Path) -> ImageFile | None:
    """Return the first usable image of the manifest whose file is there, or an object; None where there is none.

    Args:
        warehouse: folder of the tables; it need not exist.
    """
    for file in sorted(tables.manifest_path(warehouse, "00").parent.glob("shard=*.parquet")):
        try:
            roots = ImageRoots.parse(tables.read_metadata(file)["root"])
            rows = tables.read(file, ["path", "status"])
        except (TableError, SettingError, KeyError):
            # A run will make it again, and says so.
            continue
        # In Python: Arrow would import pandas for a comparison, which takes longer than everything else here.
        statuses = rows["status"].to_pylist()
        if Status.OK in statuses:
            file: ImageFile = roots / rows["path"][statuses.index(Status.OK)].as_py()
            # A store is not asked for an example.
            if isinstance(file, ObjectUrl) or file.is_file():
                return file
    return None
