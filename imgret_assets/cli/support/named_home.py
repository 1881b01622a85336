"""The settings of a command that needs a home, but not its tables.

Belongs here: refusing a mistyped `--home`. Not here: reading a home's tables (`cli.support.served_home`), commands that
make homes (`cli.run`, `cli.setup`, `cli.start`, `cli.demo`, `cli.samples`).
"""

from pathlib import Path

from imgret_assets.domain.storage.home_record import require_home
from imgret_assets.settings import Settings, load_settings


def settings_of_home(named: Path | str | None) -> Settings:
    """Return the settings of a home; a home that was named must exist, unless a store may have its tables.

    The home of IMGRET_HOME and the usual home may still be missing: a page or a database can be started before the
    first run.

    Args:
        named: the folder that `--home` names.

    Raises:
        HomeError: there is no home in the named folder; none is made.
        SettingError: a setting is invalid.
    """
    settings = load_settings({"home": named})
    if named is not None and settings.store is None:
        require_home(settings.home)
    return settings
