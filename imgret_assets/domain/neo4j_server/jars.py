"""The jars of the embedded Neo4j: downloaded once, checked against a list of hashes, shared by all homes.

The machine's Maven configuration decides where jars come from: its local repository, the mirrors of its settings.xml,
the repositories of jgo's configuration file. Belongs here: the list of Maven coordinates, downloading and checking the
jars, the folder with all of them. Not here: running the server (`domain.neo4j_server.lifecycle`).
"""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from imgret_assets.domain.storage import locks
from imgret_assets.domain.storage.atomic_files import replacing
from imgret_assets.errors import ServerError
from imgret_assets.settings import DEFAULT_LOCK_TIMEOUT_S, Settings

SERVER = "org.neo4j:neo4j"
GDS_GROUP = "org.neo4j.gds"
GDS = (f"{GDS_GROUP}:proc", f"{GDS_GROUP}:opengds-extension")
BROWSER = "org.neo4j.client:neo4j-browser"
LIST_FILE = Path(__file__).with_name("neo4j-jars.txt")
TRIES = 3
# A repository that fails often answers a moment later.
PAUSE_S = 1.0
TIMEOUT_S = 30
# Eight downloads at once take seconds where one at a time takes minutes, and don't overload a repository.
WORKERS = 8
MARKER = "complete"

Log = Callable[[str], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Jar:
    """One file of a Maven repository.

    Attributes:
        coordinate: group:artifact:version[:classifier].
        sha256: lower-case hex of the file's hash; None where it is not listed.
    """

    coordinate: str
    sha256: str | None

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """Group, artifact, version and classifier ("" for none)."""
        group, artifact, version, classifier = (*self.coordinate.split(":"), "")[:4]
        return group, artifact, version, classifier

    @property
    def file_name(self) -> str:
        """Name of the file in a repository."""
        _, artifact, version, classifier = self.parts
        return f"{artifact}-{version}{f'-{classifier}' if classifier else ''}.jar"


# Returns the file of a jar; the number is that of the try, from 1.
Fetch = Callable[[Jar, int], Path]


@dataclass(frozen=True)
class JarList:
    """All jars of one pair of versions.

    Attributes:
        jars: sorted by coordinate.
        version: of the server.
        gds_version: of the Graph Data Science library.
    """

    jars: tuple[Jar, ...]
    version: str
    gds_version: str

    @property
    def folder_name(self) -> str:
        """Name of the folder with the jars: another list gives another folder, so that none is changed in place."""
        text = "".join(f"{jar.coordinate} {jar.sha256}\n" for jar in self.jars)
        return f"neo4j-{self.version}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def names(self, folder: str) -> set[str]:
        """Return the file names of `lib`, or of `plugins`, where the server looks for procedures."""
        return {jar.file_name for jar in self.jars if self.folder_of(jar) == folder}

    def folder_of(self, jar: Jar) -> str:
        """Return `plugins` for a jar of the Graph Data Science library, else `lib`."""
        return "plugins" if jar.parts[2] == self.gds_version else "lib"


@dataclass(frozen=True)
class JarFolder:
    """A folder with all jars: `lib` and `plugins` under `path`."""

    path: Path
    version: str
    gds_version: str


def read_list(path: Path = LIST_FILE) -> JarList:
    """Return the committed list.

    Its lines are `group:artifact:version[:classifier] sha256`, one for every jar; `#` begins a comment.

    Raises:
        ServerError: a line has another form, or the server or the library is not in the list.
    """
    jars: list[Jar] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        well_formed = len(words) == 2 and words[0].count(":") in (2, 3) and len(words[1]) == 64
        if not well_formed or not set(words[1]) <= set("0123456789abcdef"):
            raise ServerError(
                f"Line {number} of {path.name} is {line!r}",
                expected="group:artifact:version[:classifier] and a sha256 in lower-case hex",
                remedy="take the file from the repository again",
            )
        jars.append(Jar(words[0], words[1]))
    versions = {f"{group}:{artifact}": version for group, artifact, version, _ in (jar.parts for jar in jars)}
    missing = {SERVER, *GDS} - set(versions)
    if missing:
        raise ServerError(f"{path.name} does not list {', '.join(sorted(missing))}")
    return JarList(tuple(sorted(jars, key=lambda jar: jar.coordinate)), versions[SERVER], versions[GDS[0]])


def assemble(settings: Settings, *, log: Log | None = None) -> JarFolder:
    """Return the folder with the server's jars; download them now if this machine does not have them yet.

    Raises:
        ServerError: a jar can't be downloaded in three tries, or its hash is not the listed one.
        LockTimeoutError: another process has been downloading them for too long.
    """
    listed = read_list()
    # Both settings are optional, for trying another release.
    version = settings.neo4j.version or listed.version
    gds_version = settings.neo4j.gds_version or listed.gds_version
    if (version, gds_version) == (listed.version, listed.gds_version):
        return assemble_listed(listed, settings.cache, log=log, lock_timeout_s=settings.lock_timeout_s)
    return _assemble_unlisted(version, gds_version, settings, log or _log.warning)


def assemble_listed(
    listed: JarList,
    cache: Path,
    *,
    log: Log | None = None,
    lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
    fetch: Fetch | None = None,
) -> JarFolder:
    """Return the folder with a list's jars; assemble it in `cache` if it is not there yet.

    Args:
        listed: the jars.
        cache: folder shared by all homes.
        log: receives a line about every 50 jars.
        lock_timeout_s: how long to wait for another process that downloads them, in seconds.
        fetch: returns a jar's file; the second argument is the number of the try, from 1. The default uses the
            machine's Maven repositories.

    Raises:
        ServerError: a jar can't be downloaded in three tries, or its hash is not the listed one.
        LockTimeoutError: another process has been downloading them for too long.
    """
    target = cache / listed.folder_name
    folder = JarFolder(target, listed.version, listed.gds_version)
    if _is_complete(target, listed):
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with locks.hold(cache, [f".{listed.folder_name}"], timeout_s=lock_timeout_s, purpose="downloading Neo4j"):
        if _is_complete(target, listed):
            return folder
        staging = cache / f".{listed.folder_name}.new"
        shutil.rmtree(staging, ignore_errors=True)
        (staging / "lib").mkdir(parents=True)
        (staging / "plugins").mkdir()
        downloads = cache / f".{listed.folder_name}.downloads"
        _fetch_all(listed, staging, fetch or MavenFetcher(downloads), log or _log.info)
        (staging / MARKER).write_text(f"{listed.version} {listed.gds_version}\n", encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
        shutil.rmtree(downloads, ignore_errors=True)
    return folder


def sha256_of(path: Path) -> str:
    """Return the lower-case hex of a file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class MavenFetcher:
    """A source of jars: this machine's local Maven repository, or a download through jgo.

    Downloads go to a folder of our own: jgo writes under the final name, so that a killed download would leave a
    half-written file in the user's repository for good.
    """

    def __init__(self, downloads: Path) -> None:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext

        config = GlobalSettings.load()
        remote = remote_repositories(config.repositories)
        self.downloads = downloads
        self.context = MavenContext(
            repo_cache=downloads, local_repos=[config.repo_cache], remote_repos=remote, timeout=TIMEOUT_S
        )
        # The second try leaves the local repository out: the half-written file may be there.
        self.remote_only = MavenContext(repo_cache=downloads, remote_repos=remote, timeout=TIMEOUT_S)

    def __call__(self, jar: Jar, attempt: int) -> Path:
        """Return the jar's file.

        Raises:
            RuntimeError: no repository has it.
            OSError: a repository did not answer.
        """
        group, artifact, version, classifier = jar.parts
        context = self.context if attempt == 1 else self.remote_only
        maven_artifact = context.project(group, artifact).at_version(version).artifact(classifier)
        downloaded = maven_artifact.cached_path
        # The file of a killed process may be half-written; where a hash is listed, that is noticed after the first try.
        if downloaded is not None and (attempt > 1 or jar.sha256 is None):
            downloaded.unlink(missing_ok=True)
        return maven_artifact.resolve()


def remote_repositories(configured: dict[str, str] | None = None, maven_settings: Path | None = None) -> dict[str, str]:
    """Return name and address of the repositories to use, in their order.

    Args:
        configured: the repositories of jgo's configuration file, which come first.
        maven_settings: the user's Maven settings; the mirror that they name for Maven Central takes its place.
    """
    from jgo.constants import MAVEN_CENTRAL_URL

    repositories = {name: url.rstrip("/") for name, url in (configured or {}).items()}
    central = _central_mirror(maven_settings or Path.home() / ".m2" / "settings.xml")
    repositories.setdefault("central", central or MAVEN_CENTRAL_URL)
    return repositories


def _central_mirror(maven_settings: Path) -> str | None:
    from xml.etree import ElementTree

    try:
        # The user's own configuration file, which Maven itself reads the same way.
        root = ElementTree.parse(maven_settings).getroot()  # noqa: S314
    except (OSError, ElementTree.ParseError):
        return None
    for mirror in root.iterfind("{*}mirrors/{*}mirror"):
        mirrored = {name.strip() for name in (mirror.findtext("{*}mirrorOf") or "").split(",")}
        url = mirror.findtext("{*}url")
        if url and "!central" not in mirrored and mirrored & {"central", "*", "external:*"}:
            return url.strip().rstrip("/")
    return None


def _fetch_all(listed: JarList, staging: Path, fetch: Fetch, log: Log) -> None:
    count = len(listed.jars)
    log(f"downloading Neo4j {listed.version} with Graph Data Science {listed.gds_version}: {count} jars")
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="imgret-jars") as pool:
        downloads = [
            pool.submit(_fetch_one, jar, staging / listed.folder_of(jar) / jar.file_name, fetch) for jar in listed.jars
        ]
        try:
            for done, finished in enumerate(as_completed(downloads), 1):
                finished.result()
                if done % 50 == 0:
                    log(f"downloaded {done} of {count} jars")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch_one(jar: Jar, target: Path, fetch: Fetch) -> None:
    cause = ""
    for attempt in range(1, TRIES + 1):
        if attempt > 1:
            time.sleep(PAUSE_S * (attempt - 1))
        try:
            source = fetch(jar, attempt)
            sha256 = sha256_of(source)
        except (OSError, RuntimeError) as error:
            cause = f"{type(error).__name__}: {error}"
            continue
        if jar.sha256 in (None, sha256):
            _place(source, target)
            return
        cause = f"its sha256 is {sha256}, listed is {jar.sha256}"
    raise ServerError(
        f"{jar.coordinate} could not be downloaded in {TRIES} tries ({cause})",
        remedy="check the network, a proxy or the mirror in Maven's settings.xml, and run the command again: "
        "downloaded jars are kept. With a server of your own, set NEO4J_URI instead",
    )


def _place(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _is_complete(target: Path, listed: JarList) -> bool:
    if not (target / MARKER).is_file():
        return False
    # Names only: the folder was renamed into place whole, so that only a file removed by hand can be missing.
    return all(listed.names(folder) <= _entries(target / folder) for folder in ("lib", "plugins"))


def _entries(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


def _assemble_unlisted(version: str, gds_version: str, settings: Settings, log: Log) -> JarFolder:
    log(
        f"Neo4j {version} with Graph Data Science {gds_version} is not the listed pair: "
        "its jars are downloaded without checking their hashes"
    )
    # Resolving takes minutes, so the coordinates are kept beside the folder.
    resolved = settings.cache / f"neo4j-{version}-gds-{gds_version}-unlisted.txt"
    if not resolved.is_file():
        coordinates = [f"{SERVER}:{version}", *(f"{name}:{gds_version}" for name in GDS)]
        settings.cache.mkdir(parents=True, exist_ok=True)
        with replacing(resolved) as temporary:
            temporary.write_text("\n".join(resolve_coordinates(coordinates, settings.cache)), encoding="utf-8")
    browser = [jar for jar in read_list().jars if jar.coordinate.startswith(f"{BROWSER}:")]
    jars = [Jar(coordinate, None) for coordinate in resolved.read_text(encoding="utf-8").split()]
    listed = JarList((*jars, *browser), version, gds_version)
    return assemble_listed(listed, settings.cache, log=log, lock_timeout_s=settings.lock_timeout_s)


def resolve_coordinates(coordinates: list[str], cache: Path) -> list[str]:
    """Return the coordinates of all jars that these need, sorted, by reading their POMs.

    Raises:
        ServerError: a version does not exist, or no repository answers.
    """
    context = MavenFetcher(cache / ".poms").context
    try:
        resolved, transitive = context.resolver.resolve([context.create_dependency(name) for name in coordinates])
    except (OSError, RuntimeError, ValueError) as error:
        raise ServerError(
            f"{' + '.join(coordinates)} could not be resolved ({error})",
            remedy="check the versions (IMGRET_NEO4J_VERSION, IMGRET_GDS_VERSION) and the network",
        ) from error
    required = [item.artifact for item in (*resolved, *transitive) if item.scope in (None, "compile", "runtime")]
    return sorted({_coordinate(item) for item in required if item.packaging == "jar"})


def _coordinate(artifact: object) -> str:
    group, name, version, classifier, _ = artifact.key  # pyright: ignore[reportAttributeAccessIssue]
    return ":".join(part for part in (group, name, version, classifier) if part)
