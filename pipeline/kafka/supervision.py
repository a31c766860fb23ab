"""What died inside Faust or aiokafka, and whether records move: the look from outside at an app that runs.

Faust marks a service as crashed and goes on without it, and aiokafka leaves an error for whoever asks next: either way
the worker would stand still with an open port. `Supervisor.look` finds it, as the error that ends the process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import errors

from pipeline.domain.errors import EXIT_UNAVAILABLE, Fatal, PipelineError
from pipeline.kafka.stall import Movement, PartitionPosition
from pipeline.kafka.strict import StrictApp

log = logging.getLogger(__name__)
#: Metadata without a topic for this long: it is gone, not moving between leaders.
GONE_AFTER_S = 10.0
#: How long a worker may be out of its group, as in a rebalance, before it is not ready.
OUT_OF_GROUP_S = 15.0
_REFUSALS = (
    errors.TopicAuthorizationFailedError, errors.GroupAuthorizationFailedError, errors.AuthenticationFailedError,
    errors.ClusterAuthorizationFailedError, errors.SaslAuthenticationFailed, errors.UnsupportedSaslMechanismError,
)  # fmt: skip


class Supervisor:
    """Watches one app that reads `topics`; call `look` about once a second, from the app's loop."""

    def __init__(self, app: StrictApp, topics: Sequence[str], now: Callable[[], float] = time.monotonic) -> None:
        self._app, self._topics, self._now = app, topics, now
        self._seen_at = dict.fromkeys(topics, now())
        self._heard = False
        self._joined = self._out = False
        self._member_at = now()
        self._movement = Movement()

    def look(self) -> BaseException | None:
        """What ends the process; None while all is alive."""
        if not self._app.started:
            return None
        now = self._now()
        for dead in deaths(self._app):
            return explained(dead)
        client = _client(self._app)
        if client is None:
            return None
        if gone := self._gone(client._client.cluster, now):  # noqa: SLF001
            return gone
        self._note_membership(client, now)
        self._movement.look(list(_places(client, self._app)), now)
        return None

    def not_ready(self, waits: bool) -> str | None:
        """Why records do not move; `waits`: the worker says already what it waits for."""
        now = self._now()
        if not self._joined:
            return f"joining the consumer group {self._app.conf.id}"
        if self._out:
            return f"out of the consumer group {self._app.conf.id} for {now - self._member_at:.0f} s"
        if overdue := self._app.consumer.commits.overdue(now):
            return str(overdue)
        return None if waits else self._movement.stalled(now)

    def _note_membership(self, client: Any, now: float) -> None:
        coordinator = client._coordinator  # noqa: SLF001
        if coordinator.coordinator_id is not None and coordinator.member_id and coordinator.generation >= 0:
            self._joined, self._member_at = True, now
        out = self._joined and now - self._member_at > OUT_OF_GROUP_S
        if out and not self._out:
            log.error("%s is out of its consumer group: Kafka does not answer; it goes on trying", self._app.conf.id)
        elif self._out and not out:
            log.warning("Kafka answers again: %s is back in its consumer group", self._app.conf.id)
        self._out = out

    def _gone(self, cluster: Any, now: float) -> Fatal | None:
        known = cluster.topics()
        # Before the first topic was named, nothing was heard yet.
        self._heard = self._heard or bool(known)
        for topic in self._topics:
            if topic in known or not self._heard:
                self._seen_at[topic] = now
            elif topic in cluster.unauthorized_topics:
                return explained(errors.TopicAuthorizationFailedError(topic))  # type: ignore[return-value]
            elif now - self._seen_at[topic] > GONE_AFTER_S:
                return Fatal(
                    f"topic {topic} was deleted while this worker read it",
                    "take it out of kafka.topics, or run 'opinionwatch setup' to create it again",
                )
        return None


def explained(error: BaseException) -> BaseException:
    """The same as one line with the remedy, where it is known; what is no failure of Kafka's is a bug and stays."""
    if isinstance(error, PipelineError):
        return error
    if isinstance(error, _REFUSALS):
        return Fatal(
            f"Kafka refuses this worker: {type(error).__name__}: {error}",
            "check kafka.username and kafka.password, and what that user may do (deploy/kafka/acls.sh)",
            EXIT_UNAVAILABLE,
        )
    if isinstance(error, errors.InconsistentGroupProtocolError):
        return Fatal(
            "another application is in the consumer group of this worker",
            "end that application, or set kafka.group to a name that no other one uses",
        )
    if isinstance(error, errors.KafkaError):
        cause: BaseException | None = error.__cause__
        if cause is not None and not isinstance(cause, errors.KafkaError | OSError):
            return cause
        return Fatal(
            f"the connection to Kafka broke down: {type(error).__name__}: {error}",
            "nothing is lost; start the worker again, and look into the log of the brokers where it comes back",
            EXIT_UNAVAILABLE,
        )
    if isinstance(error, asyncio.CancelledError):
        return RuntimeError("a service of Faust was cancelled")
    return error


def deaths(app: StrictApp) -> Iterator[BaseException]:
    """What has died of an app, while it starts too."""
    for service in _services(app, set()):
        if service.crashed:
            yield service.crash_reason or RuntimeError(f"{type(service).__name__} crashed")
        stopped = getattr(getattr(service, "_thread", None), "is_stopped", None)
        if stopped is not None and stopped.is_set() and not service.should_stop:
            yield RuntimeError(f"the thread of {type(service).__name__} ended")
    client = _client(app)
    if client is not None:
        if (pending := client._coordinator._pending_exception) is not None:  # noqa: SLF001
            yield pending
        yield from _ended([client._fetcher._fetch_task, client._coordinator._coordination_task])  # noqa: SLF001
    producer = getattr(app.producer, "_producer", None)
    if producer is not None and producer._sender is not None:  # noqa: SLF001
        yield from _ended([producer._sender.sender_task])  # noqa: SLF001


def _ended(tasks: Iterable[Any]) -> Iterator[BaseException]:
    for task in tasks:
        if task is not None and task.done():
            error = None if task.cancelled() else task.exception()
            yield error or RuntimeError("a task of aiokafka ended")


def _services(service: Any, seen: set[int]) -> Iterator[Any]:
    """The service and all under it."""
    if service is None or id(service) in seen or not hasattr(service, "crashed"):
        return
    seen.add(id(service))
    yield service
    for child in list(getattr(service, "_children", ())):
        yield from _services(child, seen)


def _client(app: StrictApp) -> Any:
    """The aiokafka consumer of the app, once it is started."""
    thread = getattr(app.consumer, "_thread", None)
    client = getattr(thread, "_consumer", None)
    return client if client is not None and client._coordinator is not None else None  # noqa: SLF001


def _places(client: Any, app: StrictApp) -> Iterator[PartitionPosition]:
    for tp in client.assignment():
        # A rebalance in the consumer's own thread may take the partition at any time.
        with suppress(AssertionError, errors.KafkaError, KeyError, AttributeError):
            state = client._fetcher._subscriptions.subscription.assignment.state_value(tp)  # noqa: SLF001
            ends = [end for end in (state.highwater, state.lso) if end is not None and end >= 0]
            if ends and state.has_valid_position:
                position = int(state.position)
                yield PartitionPosition((tp.topic, tp.partition), position, app.consumer.open_records(tp), min(ends))
