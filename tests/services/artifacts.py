"""Artifacts of the services, fetched once into a cache folder outside the repository."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ELASTICSEARCH = "9.5.0"
_SAID_EVERY_S, _MAVEN_S = 10.0, 600
_POM = Path(__file__).with_name("kafka-pom.xml")


class ServiceError(RuntimeError):
    """A service cannot be had; the message says what to install."""


def cache() -> Path:
    """`$OPINIONWATCH_TEST_CACHE`, else a folder that the service's own user may read: root's home is closed."""
    given = os.environ.get("OPINIONWATCH_TEST_CACHE")
    base = Path("/var/cache") if os.getuid() == 0 else Path.home() / ".cache"
    folder = Path(given) if given else base / "opinionwatch-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def kafka_jars() -> Path:
    """The folder of Kafka's jars."""
    folder = cache() / "kafka-4.3.1"
    with _locked("kafka"):
        if not (folder / ".complete").exists():
            say("downloading Kafka 4.3.1 with Maven (about 130 MB) ...")
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            _maven(
                "-f",
                str(_POM),
                "dependency:copy-dependencies",
                f"-DoutputDirectory={partial}",
                "-DincludeScope=runtime",
            )
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
            (folder / ".complete").touch()
    return folder


def elasticsearch_home() -> Path:
    """The unpacked Elasticsearch, readable for every user."""
    folder = cache() / f"elasticsearch-{ELASTICSEARCH}"
    with _locked("elasticsearch"):
        if not (folder / ".complete").exists():
            say(f"downloading Elasticsearch {ELASTICSEARCH} with Maven (about 100 MB) ...")
            _maven(
                "dependency:copy",
                f"-Dartifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:{ELASTICSEARCH}:zip",
                f"-DoutputDirectory={cache()}",
            )
            archive = cache() / f"elasticsearch-{ELASTICSEARCH}.zip"
            shutil.rmtree(folder, ignore_errors=True)
            say(f"unpacking Elasticsearch {ELASTICSEARCH} ...")
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(cache())
                for entry in packed.infolist():
                    mode = entry.external_attr >> 16
                    if mode:
                        (cache() / entry.filename).chmod(mode)
            archive.unlink()
            (folder / ".complete").touch()
    return folder


def java_home(least: int) -> Path:
    """The installed Java of the lowest version that is at least `least`."""
    found = []
    for home in [*Path("/usr/lib/jvm").glob("*"), *([Path(h)] if (h := os.environ.get("JAVA_HOME")) else [])]:
        release = home / "release"
        if (home / "bin" / "java").exists() and release.exists():
            line = next(x for x in release.read_text().splitlines() if x.startswith("JAVA_VERSION="))
            version = int(line.split('"')[1].split(".")[0])
            if version >= least:
                found.append((version, home))
    if not found:
        raise ServiceError(f"no Java {least} or later below /usr/lib/jvm or in JAVA_HOME; install one")
    return min(found)[1]


def say(line: str) -> None:
    """A person waits: standard output stays for what the command gives."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _maven(*arguments: str) -> None:
    if shutil.which("mvn") is None:
        raise ServiceError("mvn is not installed: apt-get install maven")
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(["mvn", "-q", "-B", *arguments], stdout=output, stderr=output)
        while process.poll() is None:
            try:
                process.wait(_SAID_EVERY_S)
            except subprocess.TimeoutExpired:
                waited = time.monotonic() - began
                if waited > _MAVEN_S:
                    process.kill()
                    raise ServiceError(f"mvn took more than {_MAVEN_S} s: is the repository reachable?") from None
                say(f"    {waited:.0f} s ...")
        output.seek(0)
        if process.returncode:
            raise ServiceError(f"mvn failed: {output.read().strip()[-800:]}")


@contextmanager
def _locked(name: str) -> Iterator[None]:
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
