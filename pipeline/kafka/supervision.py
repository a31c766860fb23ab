"""Watches a running app from outside: whether it is in its group, its topics exist, and its records move."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import errors

from pipeline.domain.errors import Fatal
from pipeline.kafka.failures import client_of, exit_error, failures_of
from pipeline.kafka.stall import PartitionPosition, StallDetector
from pipeline.kafka.strict import StrictApp

log = logging.getLogger(__name__)
#: A topic that is missing from the metadata for this long is deleted, rather than moving between leaders.
GONE_AFTER_S = 10.0
#: A worker may be out of its group for this long, as in a rebalance, before it is not ready.
OUT_OF_GROUP_S = 15.0


class Supervisor:
    """Watches one app that reads `topics`; call `look` about once a second from the app's loop."""

    def __init__(self, app: StrictApp, topics: Sequence[str], now: Callable[[], float] = time.monotonic) -> None:
        self._app, self._topics, self._now = app, topics, now
        self._seen_at = dict.fromkeys(topics, now())
        self._has_metadata = False
        self._joined = self._out = False
        self._member_at = now()
        self._stall = StallDetector()

    def look(self) -> BaseException | None:
        """Returns the error that must end the process; None if there is none."""
        if not self._app.started:
            return None
        now = self._now()
        for failure in failures_of(self._app):
            return exit_error(failure)
        client = client_of(self._app)
        if client is None:
            return None
        if gone := self._gone(client._client.cluster, now):  # noqa: SLF001
            return gone
        self._note_membership(client, now)
        self._stall.observe(list(_positions(client, self._app)), now)
        return None

    def not_ready(self) -> str | None:
        """Returns why records do not move; None if they do, or if there is nothing to read."""
        now = self._now()
        if not self._joined:
            return f"joining the consumer group {self._app.conf.id}"
        if self._out:
            return f"out of the consumer group {self._app.conf.id} for {now - self._member_at:.0f} s"
        if overdue := self._app.consumer.commit_health.overdue(now):
            return str(overdue)
        return self._stall.stalled(now)

    def _note_membership(self, client: Any, now: float) -> None:
        coordinator = client._coordinator  # noqa: SLF001
        if coordinator.coordinator_id is not None and coordinator.member_id and coordinator.generation >= 0:
            self._joined, self._member_at = True, now
        out = self._joined and now - self._member_at > OUT_OF_GROUP_S
        if out and not self._out:
            log.error("out of the consumer group: group=%s; Kafka does not answer, the worker keeps trying",
                      self._app.conf.id)  # fmt: skip
        elif self._out and not out:
            log.warning("back in the consumer group: group=%s", self._app.conf.id)
        self._out = out

    def _gone(self, cluster: Any, now: float) -> BaseException | None:
        known = cluster.topics()
        # Without a single topic, the metadata has not arrived yet.
        self._has_metadata = self._has_metadata or bool(known)
        for topic in self._topics:
            if topic in known or not self._has_metadata:
                self._seen_at[topic] = now
            elif topic in cluster.unauthorized_topics:
                return exit_error(errors.TopicAuthorizationFailedError(topic))
            elif now - self._seen_at[topic] > GONE_AFTER_S:
                return Fatal(
                    f"topic {topic} was deleted while this worker read it",
                    "remove it from kafka.topics, or run 'opinionwatch setup' to create it again",
                )
        return None


def _positions(client: Any, app: StrictApp) -> Iterator[PartitionPosition]:
    for tp in client.assignment():
        # A rebalance in the consumer's own thread may take the partition at any time.
        with suppress(AssertionError, errors.KafkaError, KeyError, AttributeError):
            state = client._fetcher._subscriptions.subscription.assignment.state_value(tp)  # noqa: SLF001
            ends = [end for end in (state.highwater, state.lso) if end is not None and end >= 0]
            if ends and state.has_valid_position:
                uncommitted = app.consumer.uncommitted_records(tp)
                yield PartitionPosition((tp.topic, tp.partition), int(state.position), uncommitted, min(ends))
