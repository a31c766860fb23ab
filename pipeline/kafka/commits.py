"""What a failed offset commit means: to be tried again, or the end of the process. Pure: the caller tells the time."""

from __future__ import annotations

import logging

from pipeline.domain.errors import EXIT_UNAVAILABLE, Fatal

log = logging.getLogger(__name__)
#: A refusal (an ACL that somebody changes and corrects) may last this long.
PATIENCE_S = 30.0


class Commits:
    """Commits that fail move no offset: the posts are indexed, and the same offsets are committed a second later.

    >>> commits = Commits()
    >>> commits.failed("KafkaTimeoutError", refused=False, now=0.0)
    >>> commits.overdue(now=90.0)
    'offsets cannot be committed for 90 s: KafkaTimeoutError'
    >>> commits.succeeded(); commits.overdue(now=91.0)
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._refused_since: float | None = None
        self._reason = ""

    def succeeded(self) -> None:
        if self._since is not None:
            log.warning("offsets are committed again")
        self._since = self._refused_since = None

    def failed(self, reason: str, *, refused: bool, now: float) -> None:
        """`refused`: Kafka answered, and no. Raises `Fatal` where it has done nothing else for `PATIENCE_S`."""
        if self._since is None:
            log.warning("offsets are not committed: %s; nothing is lost, and they are tried again", reason)
        self._since = now if self._since is None else self._since
        self._reason = reason
        if not refused:
            self._refused_since = None
            return
        self._refused_since = now if self._refused_since is None else self._refused_since
        if now - self._refused_since >= PATIENCE_S:
            raise Fatal(
                f"Kafka refuses to commit offsets: {reason}",
                "let the user of kafka.username read the group and its topics (deploy/kafka/acls.sh), "
                "or look into the log of the brokers",
                EXIT_UNAVAILABLE,
            )

    def overdue(self, now: float) -> str | None:
        """Why offsets stay behind, where they have for over 15 seconds."""
        if self._since is None or now - self._since < 15:
            return None
        return f"offsets cannot be committed for {now - self._since:.0f} s: {self._reason}"
