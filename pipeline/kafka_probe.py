"""Why a Kafka cannot be used: a short conversation with it that, unlike the clients, ends with one cause.

It connects, speaks TLS, authenticates and asks for the topics as the settings say, and compares what comes with what
another kind of listener would have done. The clients try all this for half a minute and then say "timeout".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.errors import EXIT_CONFIG, EXIT_UNAVAILABLE, Fatal
from pipeline.network import Kind, cause_of, printable
from pipeline.settings import KafkaSettings

#: Seconds for each step of the conversation.
TIMEOUT_S = 5.0
_METADATA, _HANDSHAKE, _VERSIONS, _AUTHENTICATE = 3, 17, 18, 36
_MOST_BYTES = 8_000_000
_UNKNOWN_TOPIC, _TOPIC_AUTHORIZATION, _NO_LEADER = 3, 29, 5
_UNSUPPORTED_MECHANISM, _ILLEGAL_SASL_STATE = 33, 34


@dataclass(frozen=True, slots=True)
class Topics:
    """What a broker says of the topics asked for; `brokers` are the addresses that it advertises."""

    brokers: tuple[tuple[str, int], ...]
    present: frozenset[str]
    missing: frozenset[str]
    denied: frozenset[str]
    #: Topics some of whose partitions have no leader.
    leaderless: frozenset[str]


class _ClosedError(ConnectionError):
    """The broker ended the conversation."""


def probe(kafka: KafkaSettings, topics: Sequence[str] = (), timeout_s: float = TIMEOUT_S) -> Topics:
    """Asks the first bootstrap server that can be used; raises `Fatal` with the cause and the remedy where none can."""
    problems: list[Fatal] = []
    for address in kafka.bootstrap_servers.split(","):
        try:
            found = _converse(kafka, *_host_and_port(address.strip()), topics, timeout_s)
            _refuse_unreachable_brokers(address.strip(), found, timeout_s)
        except Fatal as problem:
            problems.append(problem)
        else:
            return found
    # A wrong password says more than a second server that is switched off.
    raise next((p for p in problems if p.exit_code == EXIT_CONFIG), problems[0])


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port[:6]) < 65536 or "/" in host:
        raise Fatal(f"kafka.bootstrap_servers: {address!r} is not host:port", "write e.g. 'kafka-1:9092,kafka-2:9092'")
    return host, int(port)


def _converse(kafka: KafkaSettings, host: str, port: int, topics: Sequence[str], timeout_s: float) -> Topics:
    where = f"Kafka at {host}:{port}"
    protocol = kafka.security_protocol
    tls, sasl = protocol.endswith("SSL"), protocol.startswith("SASL")
    context = _context(kafka) if tls else None
    try:
        with _connected(host, port, timeout_s, context) as line:
            try:
                line.ask(_VERSIONS, 0, b"")
            except OSError as error:
                raise _wrong_listener(where, host, port, timeout_s, tls=tls) from error
            if sasl:
                _authenticate(kafka, where, line)
            try:
                answer = line.ask(_METADATA, 4, _array(map(_string, topics)) + b"\x00")
            except OSError as error:
                if sasl:
                    raise
                raise Fatal(
                    f"{where} takes no request without a log-in",
                    f"set kafka.security_protocol to {'SASL_SSL' if tls else 'SASL_PLAINTEXT'}, kafka.sasl_mechanism, "
                    f"kafka.username and kafka.password",
                ) from error
            return _topics(_Reader(answer))
    except (OSError, ValueError) as error:
        raise _unreachable(where, host, port, error, timeout_s, tls=tls) from error


def _context(kafka: KafkaSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=kafka.ca_file or None)
    except OSError as error:  # an SSLError is one
        reason = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise Fatal(f"kafka.ca_file {kafka.ca_file} cannot be read: {reason}", "give a PEM file") from None


def _unreachable(where: str, host: str, port: int, error: BaseException, timeout_s: float, *, tls: bool) -> Fatal:
    cause = cause_of(error)
    if cause.kind is Kind.NAME:
        remedy = "correct the host name in kafka.bootstrap_servers"
        return Fatal(f"{where} cannot be reached: {cause.words}", remedy, EXIT_UNAVAILABLE)
    if cause.kind is Kind.CERTIFICATE:
        return Fatal(
            f"{where}: its certificate is not trusted: {cause.words}",
            "set kafka.ca_file to the authority that signed it, and kafka.bootstrap_servers to a name in it",
        )
    if tls and cause.kind in {Kind.NOT_TLS, Kind.CLOSED, Kind.TLS}:
        return _wrong_listener(where, host, port, timeout_s, tls=True)
    return Fatal(
        f"{where} cannot be reached: {cause.words}",
        "start the broker, or correct host and port in kafka.bootstrap_servers",
        EXIT_UNAVAILABLE,
    )


def _wrong_listener(where: str, host: str, port: int, timeout_s: float, *, tls: bool) -> Fatal:
    """What listens there, when it does not answer as the settings would have it: the other way is tried."""
    if tls:
        try:
            with _connected(host, port, timeout_s, None) as line:
                line.ask(_VERSIONS, 0, b"")
        except (OSError, ValueError):
            return _no_kafka(where)
        return Fatal(
            f"{where} speaks no TLS, and kafka.security_protocol asks for it",
            "set kafka.security_protocol to PLAINTEXT or SASL_PLAINTEXT, or give the port of the TLS listener",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent over it
    try:
        with _connected(host, port, timeout_s, context):
            pass
    except (OSError, ValueError):
        return _no_kafka(where)
    return Fatal(
        f"{where} speaks TLS, and kafka.security_protocol does not",
        "set kafka.security_protocol to SSL or SASL_SSL, and kafka.ca_file where the authority is your own",
    )


def _no_kafka(where: str) -> Fatal:
    return Fatal(
        f"{where} does not answer as a Kafka broker does",
        "correct host and port in kafka.bootstrap_servers: another service may listen there",
        EXIT_UNAVAILABLE,
    )


def _refuse_unreachable_brokers(address: str, found: Topics, timeout_s: float) -> None:
    """Raises `Fatal` where a broker answers but advertises addresses that nobody can reach from here."""
    for host, port in found.brokers:
        try:
            with socket.create_connection((host, port), timeout_s):
                return
        except (OSError, ValueError):
            continue
    if found.brokers:
        host, port = found.brokers[0]
        raise Fatal(
            f"Kafka at {address} answers, but its brokers advertise {printable(host, 100)}:{port}, which cannot be "
            f"reached from here",
            "set advertised.listeners of the brokers to addresses that this machine can reach",
            EXIT_UNAVAILABLE,
        )


class _Line:
    """One connection: requests and their answers in turn."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def ask(self, api: int, version: int, body: bytes) -> bytes:
        """The body of the answer; raises `OSError` where none comes or it is no answer of Kafka's."""
        head = struct.pack(">hhi", api, version, api) + _string("opinionwatch-check")
        self._stream.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        (size,) = struct.unpack(">i", self._read(4))
        if not 4 <= size <= _MOST_BYTES:
            raise OSError("no answer of Kafka's")
        answer = self._read(size)
        if answer[:4] != struct.pack(">i", api):
            raise OSError("no answer of Kafka's")
        return answer[4:]

    def _read(self, size: int) -> bytes:
        got = bytearray()
        while len(got) < size:
            piece = self._stream.recv(min(65536, size - len(got)))
            if not piece:
                raise _ClosedError
            got += piece
        return bytes(got)


@contextmanager
def _connected(host: str, port: int, timeout_s: float, context: ssl.SSLContext | None) -> Iterator[_Line]:
    with socket.create_connection((host, port), timeout_s) as stream:
        if context is None:
            yield _Line(stream)
            return
        with context.wrap_socket(stream, server_hostname=host) as wrapped:
            yield _Line(wrapped)


def _authenticate(kafka: KafkaSettings, where: str, line: _Line) -> None:
    mechanism = kafka.sasl_mechanism
    answer = _Reader(line.ask(_HANDSHAKE, 1, _string(mechanism)))
    code = answer.int16()
    if code == _UNSUPPORTED_MECHANISM:
        offered = [printable(answer.string(), 40) for _ in range(min(answer.int32(), 20))]
        raise Fatal(
            f"{where} does not take kafka.sasl_mechanism {mechanism}; it takes {', '.join(offered) or 'none'}",
            f"set kafka.sasl_mechanism to {' or '.join(offered)}" if offered else "enable a mechanism at the broker",
        )
    if code == _ILLEGAL_SASL_STATE:
        plain = "SSL" if kafka.security_protocol == "SASL_SSL" else "PLAINTEXT"
        raise Fatal(
            f"{where} takes no log-in on that port, and kafka.security_protocol is {kafka.security_protocol}",
            f"set kafka.security_protocol to {plain}, or give the port of the SASL listener",
        )
    if code:
        raise Fatal(f"{where} refused the log-in with error {code}", "look at the broker's log")
    password = kafka.password.get_secret_value()
    try:
        if mechanism == "PLAIN":
            _token(line, f"\0{kafka.username}\0{password}".encode())
        else:
            _scram(line, mechanism, kafka.username, password)
    except _RefusedError as error:
        raise Fatal(
            f"{where} refused user {kafka.username!r} ({mechanism}): {error}",
            "correct kafka.username and kafka.password (or OPINIONWATCH_KAFKA__PASSWORD_FILE)",
        ) from None


class _RefusedError(Exception):
    """The broker does not accept the user; its words."""


def _token(line: _Line, token: bytes) -> bytes:
    answer = _Reader(line.ask(_AUTHENTICATE, 0, struct.pack(">i", len(token)) + token))
    code, words = answer.int16(), answer.string()
    if code:
        raise _RefusedError(printable(words or f"error {code}", 200))
    return answer.bytes()


def _scram(line: _Line, mechanism: str, username: str, password: str) -> None:
    """RFC 5802, without channel binding."""
    digest = "sha512" if mechanism.endswith("512") else "sha256"
    name = username.replace("=", "=3D").replace(",", "=2C")
    nonce = base64.b64encode(os.urandom(18)).decode()
    first = f"n={name},r={nonce}"
    challenge = _token(line, f"n,,{first}".encode()).decode("utf-8", "replace")
    given = dict(part.partition("=")[::2] for part in challenge.split(","))
    try:
        salt, rounds = base64.b64decode(given["s"]), int(given["i"])
    except (KeyError, ValueError):
        raise _RefusedError(printable(challenge, 200)) from None
    if not 0 < rounds <= 1_000_000:
        raise _RefusedError("it asks for an unreasonable number of iterations")
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, rounds)
    key = hmac.digest(salted, b"Client Key", digest)
    last = f"c=biws,r={given.get('r', '')}"
    signature = hmac.digest(hashlib.new(digest, key).digest(), f"{first},{challenge},{last}".encode(), digest)
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
    _token(line, f"{last},p={proof}".encode())


class _Reader:
    """Reads Kafka's older encoding; raises `ValueError` where the bytes end early."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def _take(self, size: int) -> bytes:
        if size < 0 or self._at + size > len(self._data):
            raise ValueError("the answer ends early")
        self._at += size
        return self._data[self._at - size : self._at]

    def int8(self) -> int:
        return self._take(1)[0]

    def int16(self) -> int:
        return int(struct.unpack(">h", self._take(2))[0])

    def int32(self) -> int:
        return int(struct.unpack(">i", self._take(4))[0])

    def string(self) -> str:
        """Null is read as the empty string."""
        return self._take(max(0, self.int16())).decode("utf-8", "replace")

    def bytes(self) -> bytes:
        return self._take(max(0, self.int32()))


def _topics(answer: _Reader) -> Topics:
    """Metadata, version 4."""
    answer.int32()
    brokers = []
    for _ in range(answer.int32()):
        answer.int32()
        brokers.append((answer.string(), answer.int32()))
        answer.string()
    answer.string()
    answer.int32()
    by_error: dict[int, set[str]] = {}
    leaderless = set()
    for _ in range(answer.int32()):
        code, name = answer.int16(), answer.string()
        by_error.setdefault(code, set()).add(name)
        answer.int8()
        for _ in range(answer.int32()):
            if answer.int16() == _NO_LEADER:
                leaderless.add(name)
            answer.int32(), answer.int32()
            for _ in range(2):
                for _ in range(answer.int32()):
                    answer.int32()
    present = set().union(*by_error.values()) - by_error.get(_UNKNOWN_TOPIC, set()) - by_error.get(29, set())
    return Topics(
        tuple(brokers),
        frozenset(present),
        frozenset(by_error.get(_UNKNOWN_TOPIC, ())),
        frozenset(by_error.get(_TOPIC_AUTHORIZATION, ())),
        frozenset(leaderless),
    )


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def _array(items: Iterator[bytes]) -> bytes:
    listed = list(items)
    return struct.pack(">i", len(listed)) + b"".join(listed)
