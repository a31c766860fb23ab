"""Each way in which a real Kafka can be misconfigured has a cause of its own, and none takes long to tell."""

from __future__ import annotations

import secrets
import shutil
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.domain.errors import EXIT_CONFIG, EXIT_UNAVAILABLE, Fatal
from pipeline.kafka import topic_check
from pipeline.kafka.probe import probe
from pipeline.settings import KafkaSettings
from tests.services.kafka import Kafka
from tests.services.process import free_port
from tests.services.secure_kafka import SecureKafka

pytestmark = [pytest.mark.services, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def secure() -> Iterator[SecureKafka]:
    folder = Path(tempfile.mkdtemp(prefix="opinionwatch-secure-kafka-"))
    kafka = SecureKafka(folder, ["stranger"], secrets.token_hex(12))
    kafka.start()
    yield kafka
    kafka.process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def right(kafka: SecureKafka) -> dict[str, Any]:
    return {
        "bootstrap_servers": kafka.address, "security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN",
        "username": "stranger", "password": kafka.password, "ca_file": str(kafka.ca_file),
    }  # fmt: skip


def cause(settings: dict[str, Any]) -> Fatal:
    began = time.monotonic()
    with pytest.raises(Fatal) as caught:
        topic_check.check_topics(KafkaSettings(**settings))
    assert time.monotonic() - began < 12
    return caught.value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "wrong"}, ["refused user 'stranger'", "Invalid username or password", "kafka.password"]),
        ({"sasl_mechanism": "SCRAM-SHA-512"}, ["SCRAM-SHA-512; it accepts PLAIN", "set kafka.sasl_mechanism to PLAIN"]),
        ({"ca_file": ""}, ["not trusted", "self-signed", "kafka.ca_file"]),
        ({"ca_file": "/no/such.pem"}, ["kafka.ca_file /no/such.pem", "No such file"]),
        ({"security_protocol": "PLAINTEXT"}, ["speaks TLS", "SSL or SASL_SSL"]),
        ({"security_protocol": "SASL_PLAINTEXT"}, ["speaks TLS", "SSL or SASL_SSL"]),
        ({"security_protocol": "SSL"}, ["without a log-in", "SASL_SSL"]),
        ({}, ["may not see topic opinion.news, opinion.forum", "deploy/kafka/acls.sh"]),
        ({"bootstrap_servers": "kafka-1"}, ["'kafka-1' is not host:port"]),
        ({"bootstrap_servers": "kafka..example:9092"}, ["'kafka..example' has an empty label"]),
    ],
)
def test_a_secured_broker(secure: SecureKafka, change: dict[str, str], words: list[str]) -> None:
    got = cause(right(secure) | change)
    assert got.exit_code == EXIT_CONFIG
    for word in words:
        assert word in str(got)
    assert secure.password not in str(got)


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("SSL", ["speaks no TLS", "PLAINTEXT"]),
        ("SASL_SSL", ["speaks no TLS", "PLAINTEXT"]),
        ("SASL_PLAINTEXT", ["takes no log-in on that port", "PLAINTEXT"]),
        ("PLAINTEXT", ["has no topic opinion.news", "opinionwatch setup"]),
    ],
)
def test_a_broker_in_plain_text(kafka_server: Kafka, protocol: str, words: list[str]) -> None:
    got = cause({"bootstrap_servers": kafka_server.address, "security_protocol": protocol, "sasl_mechanism": "PLAIN"})
    assert got.exit_code == EXIT_CONFIG
    for word in words:
        assert word in str(got)


def test_nobody_there_no_such_host_and_another_service() -> None:
    for address, word in (
        (f"127.0.0.1:{free_port()}", "refused"),
        ("no-such-host.invalid:9092", "has no address"),
    ):
        got = cause({"bootstrap_servers": address})
        assert word in str(got)
        assert got.exit_code == EXIT_UNAVAILABLE
    with answering(lambda asked: b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert "does not answer as a Kafka broker" in str(cause({"bootstrap_servers": f"127.0.0.1:{port}"}))


def test_the_second_server_is_asked_and_the_graver_cause_is_told(kafka_server: Kafka, secure: SecureKafka) -> None:
    away = f"127.0.0.1:{free_port()}"
    assert probe(KafkaSettings(bootstrap_servers=f"{away}, {kafka_server.address}")).brokers
    got = cause(right(secure) | {"bootstrap_servers": f"{away},{secure.address}", "password": "wrong"})
    assert "refused user" in str(got)


def test_brokers_that_advertise_an_address_that_nobody_reaches_are_named() -> None:
    def answer(asked: bytes) -> bytes:
        api, _, correlation = struct.unpack(">hhi", asked[4:12])
        host = b"kafka-0.kafka.svc"
        brokers = struct.pack(">ii", 1, 0) + struct.pack(">h", len(host)) + host + struct.pack(">ih", 9092, -1)
        body = struct.pack(">i", 0) + brokers + struct.pack(">hii", -1, 0, 0) if api == 3 else b"\x00\x00"
        return struct.pack(">ii", 4 + len(body), correlation) + body

    with answering(answer) as port:
        got = cause({"bootstrap_servers": f"127.0.0.1:{port}"})
    assert "advertise kafka-0.kafka.svc:9092" in str(got)
    assert "advertised.listeners" in got.remedy


class answering:  # noqa: N801
    """A server that answers each thing it reads with what the function gives; its port."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer, self._server = answer, socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> int:
        threading.Thread(target=self._serve, daemon=True).start()
        return int(self._server.getsockname()[1])

    def _serve(self) -> None:
        while True:
            try:
                stream, _ = self._server.accept()
                stream.settimeout(5)
                while asked := stream.recv(65536):
                    stream.sendall(self._answer(asked))
            except (OSError, struct.error, ssl.SSLError):
                if self._server.fileno() < 0:
                    return

    def __exit__(self, *_: object) -> None:
        self._server.close()
