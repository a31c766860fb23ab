"""Finds out why Kafka cannot be used: connects as the settings say, and reports what fails with its remedy.

If a listener does not answer as expected, the probe also tries it with TLS instead of without, or the reverse, so that
the message can say what listens there. The client libraries would try for half a minute and then report a timeout.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence

from pipeline.domain.connection_errors import Kind, cause_of, printable
from pipeline.domain.errors import EXIT_CONFIG, EXIT_UNAVAILABLE, Fatal
from pipeline.kafka.wire import (
    ILLEGAL_SASL_STATE,
    UNSUPPORTED_MECHANISM,
    Conversation,
    RefusedError,
    Topics,
    conversation,
)
from pipeline.settings import KafkaSettings
from pipeline.settings.urls import checked_host

#: The limit for each step of the conversation, in seconds.
TIMEOUT_S = 5.0
_NO_ANSWER = (OSError, ValueError)


def probe(kafka: KafkaSettings, topics: Sequence[str] = (), timeout_s: float = TIMEOUT_S) -> Topics:
    """Returns what the first usable bootstrap server says about `topics`; raises `Fatal` if none is usable."""
    problems: list[Fatal] = []
    for address in kafka.bootstrap_servers.split(","):
        try:
            host, port = _host_and_port(address.strip())
            found = _converse(kafka, host, port, topics, timeout_s)
            _refuse_unreachable_brokers(address.strip(), found, timeout_s)
        except Fatal as problem:
            problems.append(problem)
        else:
            return found
    # A wrong password is more informative than another server that is down.
    raise next((p for p in problems if p.exit_code == EXIT_CONFIG), problems[0])


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or "/" in host or not (port.isascii() and port.isdecimal()) or not 0 < int(port[:6]) < 65536:
        raise Fatal(f"kafka.bootstrap_servers: {address!r} is not host:port", "write e.g. 'kafka-1:9092,kafka-2:9092'")
    try:
        return checked_host(host), int(port)
    except ValueError as error:
        raise Fatal(f"kafka.bootstrap_servers: {error}", "write e.g. 'kafka-1:9092,kafka-2:9092'") from None


def _converse(kafka: KafkaSettings, host: str, port: int, topics: Sequence[str], timeout_s: float) -> Topics:
    where = f"Kafka at {host}:{port}"
    tls, sasl = kafka.security_protocol.endswith("SSL"), kafka.security_protocol.startswith("SASL")
    context = _context(kafka) if tls else None
    try:
        with conversation(host, port, timeout_s, context) as talk:
            try:
                talk.greet()
            except _NO_ANSWER:
                raise _wrong_listener(where, host, port, timeout_s, tls=tls) from None
            if sasl:
                _log_in(kafka, where, talk)
            try:
                return talk.topics(topics)
            except _NO_ANSWER:
                if sasl:
                    raise
                raise _log_in_needed(where, tls=tls) from None
    except _NO_ANSWER as error:
        raise _unreachable(where, host, port, error, timeout_s, tls=tls) from error


def _context(kafka: KafkaSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=kafka.ca_file or None)
    except OSError as error:  # an SSLError is one
        reason = "it has no certificate in PEM format" if isinstance(error, ssl.SSLError) else error.strerror
        raise Fatal(
            f"kafka.ca_file {kafka.ca_file} cannot be read: {reason}", "set kafka.ca_file to a PEM file"
        ) from None


def _log_in(kafka: KafkaSettings, where: str, talk: Conversation) -> None:
    mechanism = kafka.sasl_mechanism
    code, offered = talk.offer(mechanism)
    if code == UNSUPPORTED_MECHANISM:
        raise Fatal(
            f"{where} does not accept kafka.sasl_mechanism {mechanism}; it accepts {', '.join(offered) or 'none'}",
            f"set kafka.sasl_mechanism to {' or '.join(offered)}" if offered else "enable a mechanism on the broker",
        )
    if code == ILLEGAL_SASL_STATE:
        plain = "SSL" if kafka.security_protocol == "SASL_SSL" else "PLAINTEXT"
        raise Fatal(
            f"{where} takes no log-in on that port, but kafka.security_protocol is {kafka.security_protocol}",
            f"set kafka.security_protocol to {plain}, or kafka.bootstrap_servers to the port of the SASL listener",
        )
    if code:
        raise Fatal(f"{where} refused the log-in with error {code}", "look into the broker's log")
    try:
        talk.log_in(mechanism, kafka.username, kafka.password.get_secret_value())
    except RefusedError as error:
        raise Fatal(
            f"{where} refused user {kafka.username!r} ({mechanism}): {error}",
            "correct kafka.username and kafka.password (OPINIONWATCH_KAFKA__PASSWORD_FILE)",
        ) from None


def _log_in_needed(where: str, *, tls: bool) -> Fatal:
    protocol = "SASL_SSL" if tls else "SASL_PLAINTEXT"
    return Fatal(
        f"{where} accepts no request without a log-in",
        f"set kafka.security_protocol to {protocol}, kafka.sasl_mechanism, kafka.username and kafka.password",
    )


def _unreachable(where: str, host: str, port: int, error: BaseException, timeout_s: float, *, tls: bool) -> Fatal:
    cause = cause_of(error)
    if cause.kind is Kind.CERTIFICATE:
        return Fatal(
            f"the certificate of {where} is not trusted: {cause.words}",
            "set kafka.ca_file to the authority that signed it, and kafka.bootstrap_servers to a name in it",
        )
    if tls and cause.kind in {Kind.NOT_TLS, Kind.CLOSED, Kind.TLS}:
        return _wrong_listener(where, host, port, timeout_s, tls=True)
    remedy = "start the broker, or correct host and port in kafka.bootstrap_servers"
    if cause.kind is Kind.NAME:
        remedy = "correct the host name in kafka.bootstrap_servers"
    return Fatal(f"{where} cannot be reached: {cause.words}", remedy, EXIT_UNAVAILABLE)


def _wrong_listener(where: str, host: str, port: int, timeout_s: float, *, tls: bool) -> Fatal:
    """Tries the listener with TLS instead of without, or the reverse, and describes what it found."""
    context = None
    if not tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # no secret is sent over this connection
    try:
        with conversation(host, port, timeout_s, context) as talk:
            talk.greet()
    except _NO_ANSWER:
        return Fatal(
            f"{where} does not answer as a Kafka broker does",
            "correct host and port in kafka.bootstrap_servers; another service may listen there",
            EXIT_UNAVAILABLE,
        )
    if tls:
        return Fatal(
            f"{where} speaks no TLS, but kafka.security_protocol requires it",
            "set kafka.security_protocol to PLAINTEXT or SASL_PLAINTEXT, or kafka.bootstrap_servers to the TLS port",
        )
    return Fatal(
        f"{where} speaks TLS, but kafka.security_protocol does not",
        "set kafka.security_protocol to SSL or SASL_SSL, and kafka.ca_file if the authority is your own",
    )


def _refuse_unreachable_brokers(address: str, found: Topics, timeout_s: float) -> None:
    """Raises `Fatal` if a broker answers but advertises only addresses that this machine cannot reach."""
    for host, port in found.brokers:
        try:
            with socket.create_connection((host, port), timeout_s):
                return
        except (OSError, ValueError, OverflowError):
            continue
    if found.brokers:
        host, port = found.brokers[0]
        raise Fatal(
            f"Kafka at {address} answers, but its brokers advertise {printable(host, 100)}:{port}, which this machine "
            f"cannot reach",
            "set advertised.listeners of the brokers to addresses that this machine can reach",
            EXIT_UNAVAILABLE,
        )
