"""A Kafka that speaks SASL_SSL only, with users and access lists; its certificates are made for the run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .artifacts import java_home, kafka_jars
from .kafka import Kafka

_SECURE = """
listeners=SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
ssl.keystore.location={folder}/server.p12
ssl.keystore.password={password}
ssl.keystore.type=PKCS12
ssl.truststore.location={folder}/ca.pem
ssl.truststore.type=PEM
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  username="admin" password="{password}" {users};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
allow.everyone.if.no.acl.found=false
"""


class SecureKafka(Kafka):
    """`ca_file` is the authority that clients trust; every user of `names` has `password`."""

    def __init__(self, folder: Path, names: list[str], password: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.password, self.ca_file = password, folder / "ca.pem"
        _certificates(folder, password)
        super().__init__(folder)
        users = " ".join(f'user_{name}="{password}"' for name in ["admin", *names])
        config = folder / "server.properties"
        plain = config.read_text()
        controller = next(x for x in plain.splitlines() if x.startswith("controller.quorum.voters")).rpartition(":")[2]
        kept = [
            x
            for x in plain.splitlines()
            if not x.startswith(("listeners=", "advertised.", "listener.security", "inter.broker"))
        ]
        secure = _SECURE.format(port=self.port, controller=controller, folder=folder, password=password, users=users)
        config.write_text("\n".join(kept) + secure)
        self.admin_config = folder / "admin.properties"
        self.admin_config.write_text(
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n"
            f"ssl.truststore.location={self.ca_file}\nssl.truststore.type=PEM\n"
            "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'username="admin" password="{password}";\n'
        )
        self.acls = folder / "kafka-acls"
        java = java_home(17) / "bin" / "java"
        self.acls.write_text(
            f'#!/bin/sh\nexec "{java}" -Xmx128m -cp "{kafka_jars()}/*" org.apache.kafka.tools.AclCommand "$@"\n'
        )
        self.acls.chmod(0o755)


def _certificates(folder: Path, password: str) -> None:
    """An authority, and a key for 127.0.0.1 signed by it."""
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem",
        f"pkcs12 -export -in server.pem -inkey server.key -certfile ca.pem -passout pass:{password} -out server.p12",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


def run_acls(script: Path, kafka: SecureKafka, env: dict[str, str]) -> None:
    """Runs deploy/kafka/acls.sh as an administrator would."""
    values = {"KAFKA_ACLS": str(kafka.acls), "BOOTSTRAP": kafka.address, "CONFIG": str(kafka.admin_config)}
    done = subprocess.run(
        ["sh", str(script)], env={**os.environ, **values, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
