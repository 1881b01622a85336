"""The resource that says where the pictures are.

Belongs here: its configuration. Not here: walking and reading (`domain.images.files`, `domain.images.manifest`).
"""

import dagster as dg
from pydantic import Field


class ImageStoreResource(dg.ConfigurableResource):
    """A folder of image files; what is left empty comes from the settings."""

    root: str | None = Field(
        default=None,
        description="Folder of the image files; IMGRET_IMAGES, the home's record or its samples where empty.",
    )
    max_pixels: int | None = Field(
        default=None,
        description="A picture with more pixels becomes a row with status too_large; IMGRET_MAX_PIXELS where empty.",
    )
