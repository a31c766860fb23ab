"""Finds what failed inside Faust or aiokafka, and turns it into the error that ends the process.

Faust marks a service as crashed and continues without it, and aiokafka keeps an error for the next caller. In both
cases the worker would do nothing more while its port stays open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

from aiokafka import errors

from pipeline.domain.errors import EXIT_UNAVAILABLE, Fatal, PipelineError
from pipeline.kafka.strict import StrictApp

_REFUSALS = (
    errors.TopicAuthorizationFailedError, errors.GroupAuthorizationFailedError, errors.AuthenticationFailedError,
    errors.ClusterAuthorizationFailedError, errors.SaslAuthenticationFailed, errors.UnsupportedSaslMechanismError,
)  # fmt: skip


def failures_of(app: StrictApp) -> Iterator[BaseException]:
    """Yields what has failed in an app, also while it starts."""
    for service in _services(app, set()):
        if service.crashed:
            yield service.crash_reason or RuntimeError(f"{type(service).__name__} crashed")
        stopped = getattr(getattr(service, "_thread", None), "is_stopped", None)
        if stopped is not None and stopped.is_set() and not service.should_stop:
            yield RuntimeError(f"the thread of {type(service).__name__} ended")
    client = client_of(app)
    if client is not None:
        if (pending := client._coordinator._pending_exception) is not None:  # noqa: SLF001
            yield pending
        yield from _ended([client._fetcher._fetch_task, client._coordinator._coordination_task])  # noqa: SLF001
    producer = getattr(app.producer, "_producer", None)
    if producer is not None and producer._sender is not None:  # noqa: SLF001
        yield from _ended([producer._sender.sender_task])  # noqa: SLF001


def client_of(app: StrictApp) -> Any:
    """Returns the aiokafka consumer of the app; None until it is started."""
    thread = getattr(app.consumer, "_thread", None)
    client = getattr(thread, "_consumer", None)
    return client if client is not None and client._coordinator is not None else None  # noqa: SLF001


def exit_error(error: BaseException) -> BaseException:
    """Returns a failure of Kafka as a `Fatal` with its remedy; any other error is a bug and is returned as it is."""
    if isinstance(error, PipelineError):
        return error
    if isinstance(error, _REFUSALS):
        return Fatal(
            f"Kafka refuses this worker: {type(error).__name__}: {error}",
            "check kafka.username and kafka.password, and the rights of that user (deploy/kafka/acls.sh)",
            EXIT_UNAVAILABLE,
        )
    if isinstance(error, errors.InconsistentGroupProtocolError):
        return Fatal(
            "another application is in the consumer group of this worker",
            "stop that application, or set kafka.group to a name that no other application uses",
        )
    if isinstance(error, errors.KafkaError):
        cause: BaseException | None = error.__cause__
        if cause is not None and not isinstance(cause, errors.KafkaError | OSError):
            return cause
        return Fatal(
            f"the connection to Kafka broke down: {type(error).__name__}: {error}",
            "nothing is lost; start the worker again, and look into the brokers' log if it happens again",
            EXIT_UNAVAILABLE,
        )
    if isinstance(error, asyncio.CancelledError):
        return RuntimeError("a service of Faust was cancelled")
    return error


def _ended(tasks: Iterable[Any]) -> Iterator[BaseException]:
    for task in tasks:
        if task is not None and task.done():
            error = None if task.cancelled() else task.exception()
            yield error or RuntimeError("a task of aiokafka ended")


def _services(service: Any, seen: set[int]) -> Iterator[Any]:
    """Yields the service and all its children."""
    if service is None or id(service) in seen or not hasattr(service, "crashed"):
        return
    seen.add(id(service))
    yield service
    for child in list(getattr(service, "_children", ())):
        yield from _services(child, seen)
