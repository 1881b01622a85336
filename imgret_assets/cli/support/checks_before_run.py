"""The checks of a run's settings before anything is made or started.

Belongs here: model, weights, image root, additional models, the cluster. Not here: the form and range of a setting
(`settings`), what only the run itself can find out.
"""

from imgret_assets.domain.cluster.ray_cluster import connect
from imgret_assets.domain.images.files import check_roots
from imgret_assets.domain.models.families.timm_models import TIMM
from imgret_assets.domain.models.registry import family_of, find_weights
from imgret_assets.domain.storage.home_record import read_record, require_home
from imgret_assets.errors import ModelError, did_you_mean
from imgret_assets.settings import Settings


def check_before_run(settings: Settings) -> None:
    """Raise the error of a mistyped model, file or folder, or of a cluster that is away; no home is made.

    Raises:
        ModelError: a model or its weights file is unknown.
        RootError: the image root is missing or can't be listed.
        ClusterError: the cluster can't be reached.
        HomeError: the record of the home can't be read, or there is neither a home nor a folder of images.
    """
    record = read_record(settings.home)
    if settings.model is not None:
        _check_model(settings.model, None if record is None else record.model)
        if settings.weights is not None:
            find_weights(settings.model, settings.weights)
    for name, weights in settings.beside:
        family_of(name, "IMGRET_BESIDE or --beside")
        if weights is not None:
            find_weights(name, weights)
    if settings.images is not None:
        check_roots(settings.images)
    elif not (settings.home / "samples").is_dir():
        # Neither a home that remembers its images nor the samples of one that was set up.
        require_home(settings.home)
    # Last, because it takes seconds.
    connect(settings.cluster)


def _check_model(name: str, recorded: str | None) -> None:
    family = family_of(name)
    if family is not TIMM or name == recorded:
        return
    # Imported here, and only for a model that the home does not use yet: it takes seconds.
    import timm

    known = {f"timm:{model}" for model in timm.list_models()}
    plain = name.split(".")[0]
    if plain not in known and not name.startswith("timm:hf"):
        raise ModelError(
            f"timm has no model {name.removeprefix('timm:')!r}{did_you_mean(plain, known)}",
            remedy="`imgret models --search WORD` lists its models",
        )
