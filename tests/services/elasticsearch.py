"""A real Elasticsearch 9.5 (minimal distribution, one node)."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from .artifacts import ServiceError, elasticsearch_home, java_home
from .process import ServiceProcess, free_port

_SETTINGS = """
network.host: _local_
http.port: {port}
transport.port: {transport}
discovery.type: single-node
xpack.security.enabled: {security}
xpack.security.autoconfiguration.enabled: false
xpack.security.http.ssl.enabled: false
cluster.routing.allocation.disk.threshold_enabled: false
path.data: {folder}/data
path.logs: {folder}/logs
"""
_USER = "opinionwatch-es"


class ElasticsearchServer:
    """`url` has no user in it; with `users` (name -> password and role) security is on, with roles of `roles_file`."""

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        users: dict[str, tuple[str, str]] | None = None,
        roles_file: Path | None = None,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._secure = bool(users)
        folder.mkdir(parents=True, exist_ok=True)
        home = elasticsearch_home()
        config = folder / "config"
        if not config.exists():
            shutil.copytree(home / "config", config)
            (config / "elasticsearch.yml").write_text(
                _SETTINGS.format(
                    port=self.port, transport=free_port(), folder=folder, security=str(self._secure).lower()
                )
            )
        env = {
            "PATH": os.environ["PATH"],
            "ES_JAVA_HOME": str(java_home(21)),
            "ES_JAVA_OPTS": "-Xms512m -Xmx512m",
            "ES_PATH_CONF": str(config),
        }
        prefix = self._as_a_plain_user(folder)
        if roles_file:
            (config / "roles.yml").write_bytes(roles_file.read_bytes())
        for name, (password, role) in (users or {}).items():
            tool = [*prefix, "env", *(f"{k}={v}" for k, v in env.items()), str(home / "bin" / "elasticsearch-users")]
            done = subprocess.run(
                [*tool, "useradd", name, "-p", password, "-r", role], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise ServiceError(f"elasticsearch-users: {done.stderr[-500:]}")
        command = [*prefix, "env", *(f"{k}={v}" for k, v in env.items()), str(home / "bin" / "elasticsearch")]
        self.process = ServiceProcess("Elasticsearch", command, folder / "elasticsearch.log")

    def start(self) -> None:
        self.process.start(self._answers, timeout_s=120)

    def empty(self) -> None:
        """Removes our indices and templates."""
        with urllib.request.urlopen(f"{self.url}/_cat/indices/opinion-*?format=json&h=index", timeout=30) as answer:
            paths = [row["index"] for row in json.load(answer)]
        for path in [*paths, "_index_template/opinion-*"]:
            request = urllib.request.Request(f"{self.url}/{path}", method="DELETE")
            try:
                urllib.request.urlopen(request, timeout=30).close()
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_cluster/health", timeout=2) as answer:
                return bool(json.load(answer)["status"] in {"green", "yellow"})
        except urllib.error.HTTPError as error:
            return self._secure and error.code == 401
        except OSError:
            return False

    @staticmethod
    def _as_a_plain_user(folder: Path) -> list[str]:
        """Elasticsearch refuses to run as root: it runs as a user made for it, who owns `folder`."""
        if os.getuid() != 0:
            return []
        try:
            user = pwd.getpwnam(_USER)
        except KeyError:
            subprocess.run(["useradd", "--system", "--no-create-home", _USER], check=True, capture_output=True)
            user = pwd.getpwnam(_USER)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)
        return ["runuser", "-u", _USER, "--"]
