"""Talks to a Kafka broker over a socket, with a few old requests that every release answers."""

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

from pipeline.domain.connection_errors import printable

_METADATA, _HANDSHAKE, _VERSIONS, _AUTHENTICATE = 3, 17, 18, 36
_MOST_BYTES = 8_000_000
_MOST_ROUNDS = 1_000_000
_UNKNOWN_TOPIC, _TOPIC_AUTHORIZATION, _NO_LEADER = 3, 29, 5
UNSUPPORTED_MECHANISM, ILLEGAL_SASL_STATE = 33, 34


@dataclass(frozen=True, slots=True)
class Topics:
    """What a broker says about the requested topics; `brokers` are the addresses that it advertises."""

    brokers: tuple[tuple[str, int], ...]
    missing: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    #: Topics with at least one partition without a leader.
    leaderless: tuple[str, ...] = ()


class RefusedError(Exception):
    """The broker does not accept the user; the message is the broker's."""


class Conversation:
    """Sends requests and reads the answers; raises `OSError` without an answer and `ValueError` for an invalid one."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def greet(self) -> None:
        """Asks for the API versions, which any Kafka broker answers, even before a log-in."""
        self._ask(_VERSIONS, 0, b"")

    def topics(self, names: Sequence[str]) -> Topics:
        """Asks about topics without creating them, even if the broker creates topics automatically."""
        asked = struct.pack(">i", len(names)) + b"".join(map(_string, names)) + b"\x00"
        return read_topics(self._ask(_METADATA, 4, asked))

    def offer(self, mechanism: str) -> tuple[int, list[str]]:
        """Returns Kafka's error code for a SASL mechanism (0: accepted), and the mechanisms that the broker accepts."""
        answer = _Reader(self._ask(_HANDSHAKE, 1, _string(mechanism)))
        return answer.int16(), [printable(answer.string(), 40) for _ in range(min(answer.int32(), 20))]

    def log_in(self, mechanism: str, username: str, password: str) -> None:
        """Logs in; raises `RefusedError`."""
        if mechanism == "PLAIN":
            self._token(f"\0{username}\0{password}".encode())
        else:
            self._scram("sha512" if mechanism.endswith("512") else "sha256", username, password)

    def _scram(self, digest: str, username: str, password: str) -> None:
        """Follows RFC 5802, without channel binding."""
        name = username.replace("=", "=3D").replace(",", "=2C")
        first = f"n={name},r={base64.b64encode(os.urandom(18)).decode()}"
        challenge = self._token(f"n,,{first}".encode()).decode("utf-8", "replace")
        given = dict(part.partition("=")[::2] for part in challenge.split(","))
        salt, rounds = base64.b64decode(given.get("s", "")), int(given.get("i", ""))
        if not 0 < rounds <= _MOST_ROUNDS:
            raise RefusedError(f"it requires {rounds} iterations")
        salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, rounds)
        key = hmac.digest(salted, b"Client Key", digest)
        last = f"c=biws,r={given.get('r', '')}"
        signature = hmac.digest(hashlib.new(digest, key).digest(), f"{first},{challenge},{last}".encode(), digest)
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
        self._token(f"{last},p={proof}".encode())

    def _token(self, token: bytes) -> bytes:
        answer = _Reader(self._ask(_AUTHENTICATE, 0, struct.pack(">i", len(token)) + token))
        code, words = answer.int16(), answer.string()
        if code:
            raise RefusedError(printable(words or f"error {code}", 200))
        return answer.bytes()

    def _ask(self, api: int, version: int, body: bytes) -> bytes:
        head = struct.pack(">hhi", api, version, api) + _string("opinionwatch-check")
        self._stream.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        (size,) = struct.unpack(">i", self._read(4))
        if not 4 <= size <= _MOST_BYTES:
            raise ValueError("the answer is not a Kafka broker's")
        answer = self._read(size)
        if answer[:4] != struct.pack(">i", api):
            raise ValueError("the answer is not a Kafka broker's")
        return answer[4:]

    def _read(self, size: int) -> bytes:
        got = bytearray()
        while len(got) < size:
            piece = self._stream.recv(min(65536, size - len(got)))
            if not piece:
                raise ConnectionError("the broker closed the connection")
            got += piece
        return bytes(got)


@contextmanager
def conversation(host: str, port: int, timeout_s: float, context: ssl.SSLContext | None) -> Iterator[Conversation]:
    """Connects, over TLS if `context` is given; `timeout_s` limits each step."""
    with socket.create_connection((host, port), timeout_s) as stream:
        if context is None:
            yield Conversation(stream)
            return
        with context.wrap_socket(stream, server_hostname=host) as wrapped:
            yield Conversation(wrapped)


def read_topics(data: bytes) -> Topics:
    """Reads the answer to Metadata, version 4; raises `ValueError`."""
    answer = _Reader(data)
    answer.int32()
    brokers = []
    for _ in range(answer.count()):
        answer.int32()
        brokers.append((answer.string(), answer.int32()))
        answer.string()
    answer.string()
    answer.int32()
    by_code: dict[int, list[str]] = {}
    leaderless = []
    for _ in range(answer.count()):
        code, name = answer.int16(), answer.string()
        by_code.setdefault(code, []).append(name)
        answer.int8()
        if _NO_LEADER in [answer.partition() for _ in range(answer.count())]:
            leaderless.append(name)
    return Topics(
        tuple(brokers),
        tuple(by_code.get(_UNKNOWN_TOPIC, ())),
        tuple(by_code.get(_TOPIC_AUTHORIZATION, ())),
        tuple(leaderless),
    )


class _Reader:
    """Reads Kafka's older encoding; raises `ValueError` if the bytes end early."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def _take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise ValueError("the answer ends early")
        self._at += size
        return self._data[self._at - size : self._at]

    def int8(self) -> int:
        return self._take(1)[0]

    def int16(self) -> int:
        return int.from_bytes(self._take(2), signed=True)

    def int32(self) -> int:
        return int.from_bytes(self._take(4), signed=True)

    def count(self) -> int:
        """Reads the length of an array whose entries have at least one byte each."""
        count = self.int32()
        if count > len(self._data):
            raise ValueError("the answer ends early")
        return count

    def string(self) -> str:
        """Reads a string; null becomes the empty string."""
        return self._take(max(0, self.int16())).decode("utf-8", "replace")

    def bytes(self) -> bytes:
        return self._take(max(0, self.int32()))

    def partition(self) -> int:
        """Reads a partition and returns its error code."""
        code = self.int16()
        self._take(8)
        for _ in range(2):
            self._take(4 * max(0, self.int32()))
        return code


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">h", len(data)) + data
