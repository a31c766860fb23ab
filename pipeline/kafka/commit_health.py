"""Decides whether a failed offset commit is tried again or ends the process. Pure: the caller passes the time."""

from __future__ import annotations

import logging

from pipeline.domain.errors import EXIT_UNAVAILABLE, Fatal

log = logging.getLogger(__name__)
#: A refusal may last this long, for example while somebody corrects an access list.
PATIENCE_S = 30.0
#: The worker is not ready after its commits have failed for this long.
OVERDUE_S = 15.0


class CommitHealth:
    """Watches the commits of one consumer. A failed commit loses nothing: it is made again a second later.

    >>> health = CommitHealth()
    >>> health.failed("KafkaTimeoutError", refused=False, now=0.0)
    >>> health.overdue(now=90.0)
    'offsets cannot be committed for 90 s: KafkaTimeoutError'
    >>> health.succeeded(); health.overdue(now=91.0)
    """

    def __init__(self) -> None:
        self._failing_since: float | None = None
        self._refused_since: float | None = None
        self._reason = ""

    def succeeded(self) -> None:
        if self._failing_since is not None:
            log.warning("offset commits succeed again")
        self._failing_since = self._refused_since = None

    def failed(self, reason: str, *, refused: bool, now: float) -> None:
        """Notes a failure; `refused` means that Kafka answered with a refusal.

        Raises `Fatal` once Kafka has only refused for `PATIENCE_S`.
        """
        if self._failing_since is None:
            log.warning("offset commit failed: error=%s; nothing is lost, the worker tries again", reason)
            self._failing_since = now
        self._reason = reason
        if not refused:
            self._refused_since = None
            return
        self._refused_since = now if self._refused_since is None else self._refused_since
        if now - self._refused_since >= PATIENCE_S:
            raise Fatal(
                f"Kafka refuses to commit offsets: {reason}",
                "grant kafka.username the right to read the group and its topics (deploy/kafka/acls.sh), "
                "or look into the brokers' log",
                EXIT_UNAVAILABLE,
            )

    def overdue(self, now: float) -> str | None:
        """Returns why offsets are not committed once that has lasted for `OVERDUE_S`; None before."""
        if self._failing_since is None or now - self._failing_since < OVERDUE_S:
            return None
        return f"offsets cannot be committed for {now - self._failing_since:.0f} s: {self._reason}"
