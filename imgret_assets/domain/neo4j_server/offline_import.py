"""Filling the embedded server's database from the files of an import, while the server does not run.

Belongs here: running Neo4j's own import tool, which the server's jars contain. Not here: the files
(`domain.operations.import_files`), starting and stopping the server (`domain.neo4j_server.lifecycle`).
"""

import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path

from imgret_assets.domain.neo4j_server import host, lifecycle
from imgret_assets.domain.neo4j_server.configuration import write_configuration
from imgret_assets.domain.neo4j_server.jars import assemble
from imgret_assets.domain.neo4j_server.login import prepare_login
from imgret_assets.domain.neo4j_server.run_file import BOLT_PORT, HTTP_PORT, ServerFolder
from imgret_assets.domain.neo4j_server.server_process import (
    JVM_FLAGS,
    disk_full_error,
    find_servers,
    java_command,
    java_environment,
)
from imgret_assets.domain.storage import atomic_files, permissions
from imgret_assets.errors import ServerError, SettingError
from imgret_assets.settings import Settings

DATABASE = "neo4j"
_TOOL = ("org.neo4j.cli.AdminTool", "database", "import", "full")
# Lines of the tool's output that tell of its progress, the file in which it explains a failure, and how many lines of
# its output an error quotes where there is no such file.
_PROGRESS = re.compile(r"\(\d/\d\) |IMPORT DONE|\d+ (nodes|relationships|properties)$")
_TRACE_FILE = re.compile(r"Full exception details written to: (.+)")
_CAUSE = re.compile(r"^Caused by: [\w.$]+: (.+)", re.MULTILINE)
_QUOTED_LINES = 15

Log = Callable[[str], None]


def import_files(settings: Settings, folder: Path, arguments_file: str, *, replace: bool, log: Log) -> None:
    """Fill the home's own database with the files of a folder; a running server is stopped first.

    The tool reads the files without checking the graph of which they are. An import that fails leaves no database.

    Args:
        settings: of the home; they have the memory, too.
        folder: with the files.
        arguments_file: name of the file in the folder that has the tool's arguments, one a line; they name the other
            files relative to the folder.
        replace: delete the database that is there.
        log: receives a line about every step.

    Raises:
        SettingError: the folder has no such file, or there is a database that is not to be replaced.
        ServerError: the jars can't be downloaded, the running server can't be stopped, or the tool has failed.
        DiskFullError: there is no room for the database.
        LockTimeoutError: another process has been starting or stopping the server for too long.
    """
    given = _arguments(folder, arguments_file)
    permissions.restrict(settings.readable_by)
    jars = assemble(settings, log=log)
    server = ServerFolder(settings)
    server.make()
    if not replace:
        _require_no_database(server)
    if lifecycle.stop(settings):
        log("Neo4j has stopped")
    with lifecycle.server_lock(server, settings, "importing the graph"):
        if find_servers(server):
            raise ServerError("Neo4j was started in the meantime", remedy="stop what uses the graph, then import again")
        lifecycle.link_jars(server, jars)
        prepare_login(server)
        heap_mb, pagecache_mb = host.server_memory_mb(settings.neo4j.heap, settings.neo4j.pagecache)
        write_configuration(server, bolt_port=BOLT_PORT, http_port=HTTP_PORT, pagecache_mb=pagecache_mb)
        if not replace:
            _require_no_database(server)
        link = server.path / "import" / "graph"
        link.unlink(missing_ok=True)
        link.symlink_to(folder.resolve(), target_is_directory=True)
        log(f"importing {folder} by Neo4j {jars.version}")
        try:
            _run(server, heap_mb, given, log)
        finally:
            link.unlink(missing_ok=True)


def _arguments(folder: Path, name: str) -> list[str]:
    """Return the arguments of a file, with the files that they name as the server's folder has them."""
    file = folder / name
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SettingError(
            f"{file} can't be read ({error.strerror})",
            expected="a folder that `imgret export FOLDER --format neo4j-admin` has written",
        ) from error
    arguments = []
    for line in lines:
        option, _, value = line.partition("=")
        if option in ("--nodes", "--relationships"):
            label, _, names = value.partition("=")
            value = f"{label}={','.join(f'import/graph/{Path(each)}' for each in names.split(','))}"
        arguments.append(f"{option}={value}")
    return arguments


def _folders(server: ServerFolder) -> list[Path]:
    return [server.data / name / DATABASE for name in ("databases", "transactions")]


def _require_no_database(server: ServerFolder) -> None:
    found = next((folder for folder in _folders(server) if folder.exists()), None)
    if found is not None:
        raise SettingError(
            f"There is a database in {found}",
            expected="none: an import fills a new one",
            remedy="delete what it holds and import by `imgret db import FOLDER --replace`, or go on with `imgret run`",
        )


def _run(server: ServerFolder, heap_mb: int, arguments: list[str], log: Log) -> None:
    command = [
        *java_command(),
        f"-Xmx{heap_mb}m",
        *JVM_FLAGS,
        # The class path is relative to the folder: a colon in its path would end an entry.
        *("-cp", "lib/*", *_TOOL),
        *("--overwrite-destination=true", "--report-file=logs/import.report"),
        *arguments,
        DATABASE,
    ]
    environment = java_environment() | {"NEO4J_HOME": str(server.path), "NEO4J_CONF": str(server.path / "conf")}
    last_lines: deque[str] = deque(maxlen=_QUOTED_LINES)
    with atomic_files.named_errors(server.path):
        process = subprocess.Popen(
            command,
            cwd=server.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    finished = False
    try:
        for line in process.stdout or ():
            # Dots are its progress within a step.
            text = line.strip()
            if text and not text.startswith("."):
                last_lines.append(text)
                if _PROGRESS.search(text):
                    log(text)
        finished = process.wait() == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if not finished:
            for folder in _folders(server):
                shutil.rmtree(folder, ignore_errors=True)
    if not finished:
        output = "\n".join(last_lines)
        output = _root_cause(output) or output
        raise disk_full_error(server, output) or ServerError(
            f"Neo4j's import has failed; no database is left. Its output:\n{output}",
            remedy="export again, then import again",
        )


def _root_cause(output: str) -> str:
    """Return why the tool has failed, from the file that its output names; empty if it names none."""
    written = _TRACE_FILE.search(output)
    if written is None or not (file := Path(written[1].strip())).is_file():
        return ""
    causes = _CAUSE.findall(file.read_text(encoding="utf-8", errors="replace"))
    return causes[-1] if causes else ""
