"""Artifacts of the services, fetched once into a cache folder outside the repository."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ELASTICSEARCH = "9.5.0"
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
            _maven(
                "dependency:copy",
                f"-Dartifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:{ELASTICSEARCH}:zip",
                f"-DoutputDirectory={cache()}",
            )
            archive = cache() / f"elasticsearch-{ELASTICSEARCH}.zip"
            shutil.rmtree(folder, ignore_errors=True)
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


def _maven(*arguments: str) -> None:
    if shutil.which("mvn") is None:
        raise ServiceError("mvn is not installed: apt-get install maven")
    done = subprocess.run(["mvn", "-q", "-B", *arguments], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise ServiceError(f"mvn failed: {(done.stdout + done.stderr).strip()[-800:]}")


@contextmanager
def _locked(name: str) -> Iterator[None]:
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
