"""What `deploy/` gives each process: no more rights than it needs, and a user of its own."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from pipeline.console.server import refuse_open_host
from pipeline.settings import resolve

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
OURS = {name: service for name, service in COMPOSE.items() if "build" in service}
JOB = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "retrain-cronjob.yaml").read_text())
POD = JOB["spec"]["jobTemplate"]["spec"]["template"]["spec"]
ROLES = yaml.safe_load((ROOT / "deploy" / "elasticsearch" / "roles.yml").read_text())


@pytest.mark.parametrize("name", COMPOSE)
def test_a_container_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = COMPOSE[name]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["cap_drop"] == ["ALL"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)
    assert re.fullmatch(r"[\w./-]+:v?\d[\w.]*", service["image"]), "an image that is not latest"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert service.get("read_only") or name not in OURS


@pytest.mark.parametrize("name", OURS)
def test_a_role_in_compose_is_its_own_user_and_answers_to_no_web_site(name: str) -> None:
    given = {key: str(value) for key, value in OURS[name]["environment"].items()}
    settings = resolve(environ=given).settings
    user = re.fullmatch(r"https?://([\w-]+)@.*", settings.store.url)
    assert user
    assert user[1] == f"opinionwatch-{name}"
    assert f"opinionwatch_{name}" in ROLES
    assert given["OPINIONWATCH_STORE__PASSWORD"] == f"${{{name.upper()}_PASSWORD}}"
    assert not settings.http.behind_proxy
    assert not {host for host in settings.http.allowed_hosts if "." in host}
    refuse_open_host(settings.http)


def test_nobody_but_the_step_that_makes_the_users_knows_the_superuser() -> None:
    holders = {name for name, service in COMPOSE.items() if "ELASTIC_PASSWORD" in service.get("environment", {})}
    assert holders == {"elasticsearch", "users"}


@pytest.fixture
def users_made() -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """A server that takes users; its URL, and who came."""
    seen: list[tuple[str, str, Any]] = []

    class Api(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, self.headers["Authorization"], json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def test_the_users_of_compose_are_made_with_their_roles_and_passwords(
    users_made: tuple[str, list[tuple[str, str, Any]]],
) -> None:
    url, seen = users_made
    made = subprocess.run(["sh", ROOT / "deploy" / "passwords.sh"], capture_output=True, text=True, check=True).stdout
    passwords = dict(line.split("=") for line in made.splitlines())
    assert len({*passwords.values()}) == 5
    assert min(map(len, passwords.values())) == 48
    command: list[str | Path] = ["sh", ROOT / "deploy" / "elasticsearch" / "users.sh"]
    env = {"URL": url, "PATH": "/usr/bin:/bin", **passwords}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wanted = set(OURS)
    assert {path for path, _, _ in seen} == {f"/_security/user/opinionwatch-{name}" for name in wanted}
    for path, _, body in seen:
        name = path.rpartition("-")[2]
        assert body == {"password": passwords[f"{name.upper()}_PASSWORD"], "roles": [f"opinionwatch_{name}"]}
    assert not any(password in done.stdout + done.stderr for password in passwords.values())
    done = subprocess.run(command, env={**env, "ALERT_PASSWORD": 'a"b'}, capture_output=True, text=True, check=False)
    assert done.returncode == 78


def test_the_retraining_pod_has_no_rights_that_it_does_not_need() -> None:
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    uid = int(re.findall(r"--uid (\d+)", dockerfile)[0])
    context = POD["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"], context["fsGroup"]) == (True, uid, uid)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["automountServiceAccountToken"] is False
    for container in POD["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert not container["image"].endswith(":latest")
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}  # noqa: S108
        resolve(environ={e["name"]: e["value"] for e in container["env"] if not e["name"].endswith("_FILE")})


def test_the_retraining_unit_writes_to_its_own_folders_only() -> None:
    unit = (ROOT / "deploy" / "systemd" / "opinionwatch-retrain.service").read_text()
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes"):
        assert f"\n{line}\n" in unit
    assert "\nStateDirectory=opinionwatch\n" in unit
    assert "\nWorkingDirectory=/var/lib/opinionwatch\n" in unit
    assert "\nCapabilityBoundingSet=\n" in unit


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def needed(requirements: list[str], found: dict[str, str]) -> None:
    """Adds name -> version of what is installed of the requirements, and of theirs, to `found`."""
    for requirement in map(Requirement, requirements):
        name = name_of(requirement.name)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if name in found or not applies:
            continue
        distribution = metadata.distribution(name)
        found[name] = distribution.version
        inner = map(Requirement, distribution.requires or [])
        extras = {"", *requirement.extras}
        needed(
            [
                str(r).partition(";")[0]
                for r in inner
                if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in extras)
            ],
            found,
        )


def test_every_package_of_the_serving_environment_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found: dict[str, str] = {}
    needed([*project["dependencies"], *extras["cpu"], *extras["demo"], *extras["console"]], found)
    lines = [x for x in (ROOT / "constraints.txt").read_text().splitlines() if not x.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[\w.]+", line) for line in lines), "names only: no registry, no options"
    pinned = {name_of(name): version for name, version in (line.split("==") for line in lines)}
    wrong = {name: version for name, version in found.items() if pinned.get(name) != version}
    assert not wrong, "put these into constraints.txt"
    assert len(found) > 60
