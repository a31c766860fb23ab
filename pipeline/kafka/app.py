"""The Faust app of a role, and its topics of raw bytes."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import faust

from models.folders import private_cache
from pipeline.domain.errors import EXIT_UNAVAILABLE, Fatal
from pipeline.kafka.batches import read_in_bounded_memory
from pipeline.kafka.failures import exit_error, failures_of
from pipeline.kafka.limits import MAX_RECORD_BYTES
from pipeline.kafka.strict import StrictApp
from pipeline.settings import KafkaSettings


def make_app(role: str, kafka: KafkaSettings, brokers: str) -> StrictApp:
    """Makes the app of a role; its id is the consumer group. `brokers` is the resolved `host:port,...`."""
    read_in_bounded_memory()
    return StrictApp(
        f"{kafka.group}-{role}",
        broker=[f"kafka://{address}" for address in brokers.split(",")],
        broker_credentials=_credentials(kafka),
        broker_session_timeout=kafka.session_timeout_s,
        broker_heartbeat_interval=kafka.session_timeout_s / 6,
        broker_request_timeout=max(90.0, kafka.session_timeout_s * 1.5),
        broker_commit_interval=1.0,
        broker_max_poll_records=512,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=30_000,
        consumer_group_instance_id=f"{kafka.instance}-{role}" if kafka.instance else None,
        producer_acks=-1,
        producer_compression_type="gzip",
        producer_max_request_size=MAX_RECORD_BYTES,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        store="memory://",
        # Faust creates this folder and keeps nothing in it, so it must not be the worker's current directory.
        datadir=str(private_cache("faust")),
        web_enabled=False,
    )


def _credentials(kafka: KafkaSettings) -> Any:
    if kafka.security_protocol == "PLAINTEXT":
        return None
    context = ssl.create_default_context(cafile=kafka.ca_file or None) if "SSL" in kafka.security_protocol else None
    if not kafka.security_protocol.startswith("SASL"):
        return faust.SSLCredentials(context=context)
    return faust.SASLCredentials(
        username=kafka.username,
        password=kafka.password.get_secret_value(),
        mechanism=kafka.sasl_mechanism,
        ssl_context=context,
    )


def raw_topic(app: StrictApp, *names: str) -> Any:
    """Returns a topic of bytes: the workers decode records themselves, so that an undecodable one becomes a poison."""
    return app.topic(*names, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


async def start(app: StrictApp, brokers: str, timeout_s: float = 30.0) -> None:
    """Starts the app in the running loop; raises what fails inside it, and `Fatal` (exit 69) if no broker answers."""
    starting = asyncio.create_task(app.start())
    try:
        await asyncio.wait_for(_started_or_failed(app, starting), timeout_s)
    except Exception as error:
        starting.cancel()
        if isinstance(error, Fatal):
            raise
        raise Fatal(
            f"Kafka at {brokers} cannot be reached: {type(error).__name__}",
            "start the broker or set kafka.bootstrap_servers",
            EXIT_UNAVAILABLE,
        ) from None


async def _started_or_failed(app: StrictApp, starting: asyncio.Task[None]) -> None:
    """Waits for the start, and looks for failures meanwhile: the client waits for its group even after a fatal one."""
    while not (await asyncio.wait([starting], timeout=1.0))[0]:
        for failure in failures_of(app):
            raise exit_error(failure)
    starting.result()
