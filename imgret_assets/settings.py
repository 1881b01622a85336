"""The settings: their names, defaults and validation.

A value comes from a flag, else from the environment, else from `.env`, else from the home's record, else from the
default. Belongs here: the first three and the default. Not here: the home's record (`domain.storage.home`), folders
that are used without a setting (`locations`). An import reads nothing; `load_settings` reads when it is called.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from dotenv import dotenv_values

from imgret_assets import locations
from imgret_assets.errors import SettingError
from imgret_assets.image_roots import ImageRoots

DEFAULT_MODEL = "resnet50"
# The default where the weights of resnet50 are not on this machine; its own weights are part of a Python package.
INSTALLED_MODEL = "efficientnet_lite0"
RESNET50_WEIGHTS = "resnet50-0676ba61.pth"
DEFAULT_SHARDS = 16
# At ten million images a shard is then 50 MB of vectors. A run over all shards holds a lock, an open file, on each.
MAX_SHARDS = 1024
DEFAULT_THRESHOLD = 0.8
DEFAULT_MAX_PIXELS = 100_000_000
DEFAULT_MAX_BYTES = 1_000_000_000
DEFAULT_LOCK_TIMEOUT_S = 900.0
DEFAULT_KEEP_RUNS = 100
DEFAULT_MAX_PAIRS = 50_000_000
DEFAULT_MEMORY_GB = 2.0
DEFAULT_OBJECT_CACHE_GB = 2.0
DEVICES = ("auto", "cpu", "cuda", "mps")
ENGINES = ("auto", "openvino", "torch")
DEFAULT_APP_URL = "http://127.0.0.1:8501"
DEFAULT_API_HOST, DEFAULT_API_PORT = "127.0.0.1", 8600
DEFAULT_API_MAX_BYTES = 50_000_000
DEFAULT_API_TIMEOUT_S = 30.0
DEFAULT_API_WAITING = 200
DECODINGS = ("auto", "full", "scaled")
POOLINGS = ("auto", "avg", "gem", "head")
READERS = ("owner", "group", "all")
PAIR_SEARCHES = ("cascade", "brute_force", "approximate")
DEFAULT_PROBES = 32
ORIENTATIONS = ("off", "on")
GRAPH_VECTORS = ("yes", "no")

_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")
# Without a user name or a password before the name of the bucket, and without options behind it.
_STORE = re.compile(r"(?:s3|gs|az)://[^\s/@?#:]+(?:/[^\s@?#]*)?")
NEO4J_SCHEMES = ("bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc")
# SQLAlchemy, through which Dagster opens its SQLite files, takes `?` in a path for the start of options, and Alembic
# takes `%` for the start of a variable; a control character would end a line of a configuration file.
_PATH_WITHOUT = re.compile(r"[%?\x00-\x1f\x7f]")
# The files of a home add up to some 100 bytes, and SQLite opens no path of more than 512 bytes.
LONGEST_HOME_BYTES, LONGEST_NAME_BYTES = 384, 255

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# 16 random hexadecimal digits are out of reach of guessing over a network.
_TOKEN = re.compile(r"[\x21-\x7e]{16,512}")

_PREFIX = "IMGRET_"
_TEST_PREFIX = "IMGRET_TEST_"
_PREFIXED_FLAGS = (
    *("home", "store", "cache", "images", "protected", "shards", "lock_timeout_s"),
    *("keep_runs", "fresh_within_hours", "readable_by", "app_url", "allowed_hosts"),
    *("model", "weights", "beside", "decoding", "pooling", "centre", "device", "engine", "max_pixels", "max_bytes"),
    *("threshold", "max_neighbours", "max_pairs", "memory_gb", "object_cache_gb", "pair_search", "probes"),
    *("orientations", "cluster", "cluster_gpus"),
    *("graph_vectors", "neo4j_ca", "neo4j_max_nodes", "neo4j_max_relationships"),
    *("neo4j_heap", "neo4j_pagecache", "neo4j_version", "gds_version"),
    *("api_host", "api_port", "api_token", "api_max_bytes", "api_timeout_s", "api_threads", "api_waiting"),
)
# The environment variable of every setting, by the setting's name as a flag.
VARIABLES: Mapping[str, str] = {flag: f"{_PREFIX}{flag.upper()}" for flag in _PREFIXED_FLAGS} | {
    "neo4j_uri": "NEO4J_URI",
    "neo4j_username": "NEO4J_USERNAME",
    "neo4j_password": "NEO4J_PASSWORD",
    "neo4j_database": "NEO4J_DATABASE",
    "dagster_home": "DAGSTER_HOME",
}
# Variables that other parts of the project read: `env_file`, docker/code_server.py and docker-compose.yml.
_OTHER_VARIABLES = (
    *("IMGRET_ENV_FILE", "IMGRET_CODE_MODULE", "IMGRET_UID", "IMGRET_GID", "IMGRET_PIP_EXTRA_INDEX_URL"),
    *("IMGRET_COMPOSE_NEO4J_PASSWORD", "IMGRET_COMPOSE_POSTGRES_PASSWORD", "IMGRET_COMPOSE_API_TOKEN"),
    "IMGRET_IMAGES_DIR",
    *("IMGRET_NEO4J_BOLT_PORT", "IMGRET_NEO4J_HTTP_PORT", "IMGRET_WEBSERVER_PORT", "IMGRET_PAGE_PORT"),
)
KNOWN_VARIABLES = frozenset({*VARIABLES.values(), *_OTHER_VARIABLES})


Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Neo4jSettings:
    """How to reach Neo4j; without a `uri` it is the embedded server of the home.

    `ca` is a file with the certificates to trust in place of the system's. A run that would make more than `max_nodes`
    nodes or `max_relationships` relationships in the database fails before it writes them. Without `vectors` the nodes
    have no vectors, there is no vector index, and queries read the vectors of the tables.

    `heap`, `pagecache` (such as `2g`), `version` and `gds_version` are the embedded server's.
    """

    uri: str | None
    username: str
    password: str | None
    database: str | None
    ca: Path | None = None
    max_nodes: int | None = None
    max_relationships: int | None = None
    vectors: bool = True
    heap: str = "2g"
    pagecache: str = "1g"
    version: str | None = None
    gds_version: str | None = None

    @property
    def embedded(self) -> bool:
        """True where imgret runs the server itself."""
        return self.uri is None

    def __repr__(self) -> str:
        """Leave the password out: it must not reach a log."""
        return f"Neo4jSettings(uri={self.uri!r}, username={self.username!r}, database={self.database!r})"


@dataclass(frozen=True)
class ApiSettings:
    """How the HTTP API is served (`imgret serve`).

    Attributes:
        host: address that it listens on.
        port: port that it listens on; None for `DEFAULT_API_PORT`.
        token: what a client has to send as its Bearer token; None for no token.
        max_bytes: a larger body of a request is refused while it is read.
        timeout_s: seconds that a request may take, for its body and for its answer.
        threads: searches at the same time; None for a number that suits this machine.
        waiting: requests that may wait beside those at work; more are refused.
    """

    host: str = DEFAULT_API_HOST
    port: int | None = None
    # Not shown: it must not reach a log.
    token: str | None = field(default=None, repr=False)
    max_bytes: int = DEFAULT_API_MAX_BYTES
    timeout_s: float = DEFAULT_API_TIMEOUT_S
    threads: int | None = None
    waiting: int = DEFAULT_API_WAITING

    def require_safe(self) -> None:
        """Raise an error if others could reach the API without a token.

        Raises:
            SettingError: it listens elsewhere than on this machine, and there is no token.
        """
        if self.token is None and self.host.strip("[]") not in LOOPBACK:
            raise SettingError(
                f"The API would listen on {self.host} without a token",
                expected="a token as soon as it listens elsewhere than on 127.0.0.1",
                remedy="set IMGRET_API_TOKEN, such as to the output of `openssl rand -hex 24`, or leave --host out",
            )


@dataclass(frozen=True)
class Settings:
    """The settings of a process.

    `images`, `model`, `shards`, `threshold` and `centre` are None where they are not set: then the home's record
    counts, and only then the default (`domain.storage.home.Home`).

    Attributes:
        home: absolute folder of the tables, the embedded database, the model cache and Dagster's storage.
        store: bucket and prefix with which the tables are exchanged, such as `s3://bucket/prefix`; None for none.
        cache: absolute folder of the downloads that all homes share (the server's jars).
        images: the roots of the image files: one folder, or several with a name each.
        model: a name of `domain.models.registry`, such as `efficientnet_lite0` or `timm:resnet18`.
        weights: a file with the model's weights.
        device: one of `auto`, `cpu`, `cuda`, `mps`.
        engine: one of `auto`, `openvino`, `torch`.
        shards: number of partitions, 1 to 1,024.
        threshold: raw cosine above which two images are related, in [-1, 1].
        max_neighbours: a pair is kept only if it is among this number of best pairs of one of its images; None keeps
            all pairs.
        max_pairs: more pairs than this above the threshold are an error.
        memory_gb: memory that a comparison of vectors may use beside the vectors, in 2^30 bytes.
        object_cache_gb: what objects of a bucket may take on the disk of the home, in 10^9 bytes; 0 keeps none.
        pair_search: `cascade`, or `brute_force` to compare every pair of vectors in full, with the same results, or
            `approximate` to compare only those that share a cell, with results that may lack some.
        probes: number of cells that a vector visits in an approximate search.
        orientations: whether mirrored and rotated copies are searched as well.
        cluster: the Ray cluster that embeds and compares, `host:port`, `auto` or `local`; None for this machine alone.
        cluster_gpus: GPUs of each node that embeds on GPUs, below 1 a part of one; None for all of the node.
        max_pixels: an image with more pixels gets the status `too_large`.
        max_bytes: an image file with more bytes gets the status `too_large`, and is not read.
        lock_timeout_s: how long to wait for another run, in seconds.
        keep_runs: how many finished runs stay in Dagster's storage.
        fresh_within_hours: Dagster marks an asset as overdue that was not materialised for so long; None for never.
        dagster_home: absolute folder of Dagster's storage.
        neo4j: the server to use.
        beside: additional models, whose tables are refreshed with those of the graph's model: names, each with its
            weights file or None.
        decoding: one of `auto`, `full`, `scaled`: whether large JPEGs are decoded at a smaller scale.
        pooling: one of `auto`, `avg`, `gem`, `head`: how a model's last features become a vector.
        centre: a file with a mean that is subtracted from the vectors; `none` for no mean.
        protected: folders under the image root, POSIX, whose images are never proposed for removal; `.` is all of it.
        readable_by: `owner`, `group` or `all`: who may read the home's files beside their owner.
        app_url: address of the web page, for links to it, without a slash at its end.
        allowed_hosts: names of this machine, beside localhost, under which browsers reach Dagster's UI and the page.
        api: of the HTTP API.
        warnings: messages about the settings, such as one that is ignored.
    """

    home: Path
    cache: Path
    images: ImageRoots | None
    model: str | None
    weights: Path | None
    device: str
    engine: str
    shards: int | None
    threshold: float | None
    max_pixels: int
    lock_timeout_s: float
    dagster_home: Path
    neo4j: Neo4jSettings
    max_neighbours: int | None = None
    max_pairs: int = DEFAULT_MAX_PAIRS
    max_bytes: int = DEFAULT_MAX_BYTES
    memory_gb: float = DEFAULT_MEMORY_GB
    object_cache_gb: float = DEFAULT_OBJECT_CACHE_GB
    pair_search: str = "cascade"
    probes: int = DEFAULT_PROBES
    orientations: bool = False
    cluster: str | None = None
    cluster_gpus: float | None = None
    keep_runs: int = DEFAULT_KEEP_RUNS
    fresh_within_hours: float | None = None
    beside: tuple[tuple[str, Path | None], ...] = ()
    decoding: str = "auto"
    pooling: str = "auto"
    centre: Path | Literal["none"] | None = None
    protected: tuple[str, ...] = ()
    readable_by: str = "owner"
    app_url: str = DEFAULT_APP_URL
    allowed_hosts: tuple[str, ...] = ()
    api: ApiSettings = ApiSettings()
    store: str | None = None
    warnings: tuple[str, ...] = ()


def env_file(env: Mapping[str, str] | None = None) -> Path:
    """Return the file that completes the environment: IMGRET_ENV_FILE, else that of `locations`."""
    environment = os.environ if env is None else env
    named = environment.get("IMGRET_ENV_FILE")
    return Path(named) if named else locations.default_env_file()


def load_settings(flags: Mapping[str, object] | None = None, *, env: Mapping[str, str] | None = None) -> Settings:
    """Read all settings once.

    Args:
        flags: values that win over everything, by a key of `VARIABLES` (`home`, `model`, `neo4j_uri`, …); None counts
            as not set.
        env: the environment; the process's own where None. An empty value counts as not set.

    Raises:
        SettingError: a name is unknown, or a value is not of the form or in the range that its setting has.
    """
    environment = os.environ if env is None else env
    values = _env_file_values(env_file(environment), must_exist=bool(environment.get("IMGRET_ENV_FILE")))
    variables = {name: value for name, value in environment.items() if value}
    _check_variables(variables, "the environment")
    values |= variables
    for flag, value in (flags or {}).items():
        if flag not in VARIABLES:
            raise _unknown([flag], VARIABLES)
        if value is not None:
            values[VARIABLES[flag]] = str(value)

    home = _storage_path(values, "IMGRET_HOME") or locations.default_home()
    uri = _neo4j_uri(values)
    of_another_server = ("NEO4J_USERNAME", "NEO4J_PASSWORD", "IMGRET_NEO4J_CA")
    ignored = [key for key in of_another_server if not uri and key in values]
    warnings = (
        (f"{' and '.join(ignored)} ignored: without NEO4J_URI the embedded server and its own password are used",)
        if ignored
        else ()
    )
    return Settings(
        home=home,
        store=_store(values),
        cache=_path(values.get("IMGRET_CACHE")) or locations.default_cache(),
        images=ImageRoots.parse(values["IMGRET_IMAGES"]) if values.get("IMGRET_IMAGES") else None,
        model=values.get("IMGRET_MODEL"),
        weights=_path(values.get("IMGRET_WEIGHTS")),
        device=_choice(values, "IMGRET_DEVICE", DEVICES),
        engine=_choice(values, "IMGRET_ENGINE", ENGINES),
        shards=_integer(values, "IMGRET_SHARDS", 1, MAX_SHARDS),
        threshold=_real(values, "IMGRET_THRESHOLD", -1.0, 1.0),
        max_pixels=_integer(values, "IMGRET_MAX_PIXELS", 1, 2**40) or DEFAULT_MAX_PIXELS,
        max_bytes=_integer(values, "IMGRET_MAX_BYTES", 1, 2**50) or DEFAULT_MAX_BYTES,
        lock_timeout_s=_value_or(_real(values, "IMGRET_LOCK_TIMEOUT_S", 0.0, 1e9), DEFAULT_LOCK_TIMEOUT_S),
        dagster_home=_storage_path(values, "DAGSTER_HOME") or home / "dagster",
        neo4j=Neo4jSettings(
            uri=uri,
            username=(values.get("NEO4J_USERNAME") if uri else None) or "neo4j",
            password=values.get("NEO4J_PASSWORD") if uri else None,
            database=values.get("NEO4J_DATABASE"),
            ca=_path(values.get("IMGRET_NEO4J_CA")) if uri else None,
            max_nodes=_integer(values, "IMGRET_NEO4J_MAX_NODES", 1, 2**40),
            max_relationships=_integer(values, "IMGRET_NEO4J_MAX_RELATIONSHIPS", 1, 2**40),
            vectors=_choice(values, "IMGRET_GRAPH_VECTORS", GRAPH_VECTORS) == "yes",
            heap=values.get("IMGRET_NEO4J_HEAP", "2g"),
            pagecache=values.get("IMGRET_NEO4J_PAGECACHE", "1g"),
            version=values.get("IMGRET_NEO4J_VERSION"),
            gds_version=values.get("IMGRET_GDS_VERSION"),
        ),
        keep_runs=_integer(values, "IMGRET_KEEP_RUNS", 1, 1_000_000) or DEFAULT_KEEP_RUNS,
        fresh_within_hours=_real(values, "IMGRET_FRESH_WITHIN_HOURS", 0.1, 1e5),
        max_neighbours=_integer(values, "IMGRET_MAX_NEIGHBOURS", 1, 2**31),
        max_pairs=_integer(values, "IMGRET_MAX_PAIRS", 1, 2**40) or DEFAULT_MAX_PAIRS,
        memory_gb=_value_or(_real(values, "IMGRET_MEMORY_GB", 0.05, 1e6), DEFAULT_MEMORY_GB),
        object_cache_gb=_value_or(_real(values, "IMGRET_OBJECT_CACHE_GB", 0.0, 1e6), DEFAULT_OBJECT_CACHE_GB),
        pair_search=_choice(values, "IMGRET_PAIR_SEARCH", PAIR_SEARCHES),
        probes=_integer(values, "IMGRET_PROBES", 1, 65_535) or DEFAULT_PROBES,
        orientations=_choice(values, "IMGRET_ORIENTATIONS", ORIENTATIONS) == "on",
        beside=_models(values.get("IMGRET_BESIDE", "")),
        decoding=_choice(values, "IMGRET_DECODING", DECODINGS),
        pooling=_choice(values, "IMGRET_POOLING", POOLINGS),
        centre="none" if values.get("IMGRET_CENTRE") == "none" else _path(values.get("IMGRET_CENTRE")),
        cluster=values.get("IMGRET_CLUSTER"),
        cluster_gpus=_gpus(values, "IMGRET_CLUSTER_GPUS"),
        protected=_folders(values.get("IMGRET_PROTECTED", "")),
        readable_by=_choice(values, "IMGRET_READABLE_BY", READERS),
        app_url=_url(values, "IMGRET_APP_URL", DEFAULT_APP_URL),
        allowed_hosts=_hosts(values.get("IMGRET_ALLOWED_HOSTS", "")),
        api=_api(values),
        warnings=warnings,
    )


def _env_file_values(file: Path, *, must_exist: bool) -> dict[str, str]:
    # Not is_file(): /dev/null stands for an empty file.
    if not file.exists() or file.is_dir():
        if must_exist:
            raise SettingError(
                f"IMGRET_ENV_FILE names {file}, which is {'a folder' if file.is_dir() else 'not there'}",
                expected="a file with lines such as IMGRET_HOME=/srv/imgret",
                remedy="correct the path, or remove the variable",
            )
        return {}
    try:
        values = {name: value for name, value in dotenv_values(file).items() if value}
    except UnicodeDecodeError as error:
        raise SettingError(
            f"{file} is not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x})",
            expected="a text file in UTF-8",
            remedy="save it in UTF-8",
        ) from error
    except OSError as error:
        raise SettingError(
            f"{file} can't be read ({error.strerror})", remedy="make it readable for this user, or name another file"
        ) from error
    _check_variables(values, str(file))
    return values


def _check_variables(names: Iterable[str], source: str) -> None:
    """Raise an error for variables that begin with IMGRET_ and that nothing reads."""
    ours = (name for name in names if name.startswith(_PREFIX) and not name.startswith(_TEST_PREFIX))
    unknown = sorted(set(ours) - KNOWN_VARIABLES)
    if unknown:
        raise _unknown(unknown, KNOWN_VARIABLES, f" (in {source})")


def _unknown(names: Sequence[str], known: Iterable[str], source: str = "") -> SettingError:
    nearest = [difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)[0] for name in names]
    return SettingError(
        f"There is no setting {' or '.join(names)}{source}",
        expected=f"a name of docs/operate/settings.md; the nearest: {', '.join(nearest)}",
        remedy="correct the name or remove it",
    )


def available_model(settings: Settings) -> str:
    """Return the default model by the weights that are on this machine, or that the settings name."""
    has_weights = settings.weights is not None or locations.torch_weights(RESNET50_WEIGHTS).is_file()
    return DEFAULT_MODEL if has_weights else INSTALLED_MODEL


def check_threshold(threshold: float, name: str = "threshold") -> float:
    """Return the threshold, if it is a cosine.

    Raises:
        SettingError: it is outside [-1, 1] or not a number.
    """
    if not -1.0 <= threshold <= 1.0:
        raise SettingError(f"{name} is {threshold!r}", expected="a cosine from -1 to 1", remedy="0.8 is the default")
    return threshold


def _value_or(value: Number | None, default: Number) -> Number:
    return default if value is None else value


def _path(value: str | None) -> Path | None:
    # Not resolve(): a path through a link keeps its name; only the working folder is added.
    return Path(os.path.abspath(Path(value).expanduser())) if value else None  # noqa: PTH100


def _storage_path(values: Mapping[str, str], name: str) -> Path | None:
    """Return an absolute folder that SQLite, Dagster and Neo4j can open files in."""
    path = _path(values.get(name))
    if path is None:
        return None
    found = _PATH_WITHOUT.search(str(path))
    if found:
        raise SettingError(
            f"{name} is {str(path)!r}, which contains {found[0]!r}",
            expected="a path without %, ? and control characters, which Dagster's storage can't open",
            remedy="choose or rename the folder",
        )
    longest = max(len(os.fsencode(part)) for part in path.parts)
    if longest > LONGEST_NAME_BYTES or len(os.fsencode(path)) > LONGEST_HOME_BYTES:
        raise SettingError(
            f"{name} has {len(os.fsencode(path))} bytes, and its longest name {longest}: {str(path)[:60]}…",
            expected=f"at most {LONGEST_HOME_BYTES} bytes, and {LONGEST_NAME_BYTES} for a name, which SQLite can open",
            remedy="choose a shorter path",
        )
    return path


def _neo4j_uri(values: Mapping[str, str]) -> str | None:
    """Return the address of an external Neo4j; its message never repeats a password that the address contains."""
    uri = values.get("NEO4J_URI")
    if not uri:
        return None
    expected = "an address such as bolt://host:7687 or neo4j+s://host"
    parts = urlsplit(uri)
    # From the text, because urlsplit takes the rest of an address that it can't split for a path.
    if "@" in uri:
        raise SettingError(
            "NEO4J_URI contains a user name or a password (not shown here)",
            expected=expected,
            remedy="set NEO4J_USERNAME and NEO4J_PASSWORD instead",
        )
    try:
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
    if parts.scheme not in NEO4J_SCHEMES or not parts.hostname or not port_is_valid:
        remedy = "7687 is Neo4j's usual port for the driver; 7474 is that of its pages for a browser"
        raise SettingError(f"NEO4J_URI is {uri!r}", expected=expected, remedy=remedy)
    return uri


def _store(values: Mapping[str, str]) -> str | None:
    """Return the address of a store without a slash at its end; its message never repeats what may be a password."""
    store = values.get("IMGRET_STORE")
    if store is None:
        return None
    if not _STORE.fullmatch(store):
        shown = (
            "has a user name, a password or options (not shown here)" if set("@?#") & set(store) else f"is {store!r}"
        )
        raise SettingError(
            f"IMGRET_STORE {shown}",
            expected="a bucket and a prefix such as s3://bucket/prefix; also gs:// or az://",
            remedy="set credentials, region and endpoint in the variables of the store's own tools, such as "
            "AWS_ACCESS_KEY_ID",
        )
    return store.rstrip("/")


def _models(value: str) -> tuple[tuple[str, Path | None], ...]:
    """Return models separated by commas, each a name or name=weights file."""
    parts = [part.strip().partition("=") for part in value.split(",") if part.strip()]
    return tuple((name.strip(), _path(weights.strip())) for name, _, weights in parts)


def _folders(value: str) -> tuple[str, ...]:
    """Return folders under the image root separated by commas, each once; a name with a comma is not possible."""
    folders = [PurePosixPath(part.strip()) for part in value.split(",") if part.strip()]
    for folder in folders:
        if folder.is_absolute() or ".." in folder.parts:
            raise SettingError(
                f"IMGRET_PROTECTED names {str(folder)!r}",
                expected="folders under the image root, such as `originals,albums/2024`",
            )
    return tuple(dict.fromkeys(str(folder) for folder in folders))


def _hosts(value: str) -> tuple[str, ...]:
    """Return host names and IP addresses separated by commas, each once, in lower case."""
    hosts = [part.strip().lower() for part in value.split(",") if part.strip()]
    for host in hosts:
        if not _HOST_NAME.fullmatch(host) and not _is_ipv6(host):
            raise SettingError(
                f"IMGRET_ALLOWED_HOSTS names {host!r}",
                expected="host names without scheme, port and path, such as `images.example,192.168.1.5`",
            )
    return tuple(dict.fromkeys(hosts))


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except ValueError:
        return False
    return True


def _api(values: Mapping[str, str]) -> ApiSettings:
    """Return the settings of the HTTP API; no message repeats the token."""
    token = values.get("IMGRET_API_TOKEN")
    if token is not None and not _TOKEN.fullmatch(token):
        raise SettingError(
            f"IMGRET_API_TOKEN has {len(token)} characters, or one that a header can't have (not shown here)",
            expected="16 to 512 letters, digits and signs without spaces",
            remedy="set it to the output of `openssl rand -hex 24`",
        )
    return ApiSettings(
        host=values.get("IMGRET_API_HOST", DEFAULT_API_HOST),
        port=_integer(values, "IMGRET_API_PORT", 1, 65535),
        token=token,
        max_bytes=_integer(values, "IMGRET_API_MAX_BYTES", 1000, 2**40) or DEFAULT_API_MAX_BYTES,
        timeout_s=_real(values, "IMGRET_API_TIMEOUT_S", 0.1, 3600) or DEFAULT_API_TIMEOUT_S,
        threads=_integer(values, "IMGRET_API_THREADS", 1, 1024),
        waiting=_value_or(_integer(values, "IMGRET_API_WAITING", 0, 100_000), DEFAULT_API_WAITING),
    )


def _choice(values: Mapping[str, str], name: str, choices: Sequence[str]) -> str:
    """Return one of the choices, of which the first is the default."""
    value = values.get(name, choices[0])
    if value not in choices:
        raise SettingError(f"{name} is {value!r}", expected=f"one of {', '.join(choices)}")
    return value


def _url(values: Mapping[str, str], name: str, default: str) -> str:
    value = values.get(name, default).rstrip("/")
    if not value.startswith(("http://", "https://")):
        raise SettingError(f"{name} is {value!r}", expected=f"an address such as {default}")
    return value


def _integer(values: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    if name not in values:
        return None
    try:
        number = int(values[name])
    except ValueError:
        number = None
    if number is None or not low <= number <= high:
        raise SettingError(f"{name} is {values[name]!r}", expected=f"a whole number from {low} to {high}")
    return number


def _gpus(values: Mapping[str, str], name: str) -> float | None:
    number = _real(values, name, 0.01, 64)
    if number is not None and number > 1 and not number.is_integer():
        raise SettingError(f"{name} is {values[name]!r}", expected="a part of one GPU, such as 0.5, or a whole number")
    return number


def _real(values: Mapping[str, str], name: str, low: float, high: float) -> float | None:
    if name not in values:
        return None
    try:
        number = float(values[name])
    except ValueError:
        number = None
    if number is None or not low <= number <= high:
        raise SettingError(f"{name} is {values[name]!r}", expected=f"a number from {low:g} to {high:g}")
    return number
