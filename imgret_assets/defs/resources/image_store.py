"""The resource with the location of the image files.

Belongs here: configuration. Not here: listing folders and reading files (`domain.images.files`,
`domain.images.manifest`).
"""

import dagster as dg
from pydantic import Field


class ImageStoreResource(dg.ConfigurableResource):
    """The folders of image files; empty fields are completed from the settings."""

    root: str | None = Field(
        default=None,
        description="Folder of the image files, or NAME=FOLDER for several, separated by `;`. If empty: IMGRET_IMAGES, "
        "else the home's record, else its samples.",
    )
    max_pixels: int | None = Field(
        default=None,
        description="An image with more pixels gets the status too_large. If empty: IMGRET_MAX_PIXELS.",
    )
    max_bytes: int | None = Field(
        default=None,
        description="An image file with more bytes is too_large and not read. If empty: IMGRET_MAX_BYTES.",
    )
