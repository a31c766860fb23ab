"""Checks that the topics of the settings exist and that this user may see them; needs no Kafka client."""

from __future__ import annotations

from pipeline.domain.errors import EXIT_USAGE, Fatal
from pipeline.kafka.probe import probe
from pipeline.settings import EMBEDDED, KafkaSettings

#: The remedy when Kafka denies this user something.
GRANT = "grant that user the rights in deploy/kafka/acls.sh, then run 'opinionwatch setup'"


def check_topics(kafka: KafkaSettings) -> str:
    """Returns a line about the brokers; raises `Fatal` with the topics that are missing or denied to this user."""
    refuse_embedded(kafka)
    needed = all_topics(kafka)
    answer = probe(kafka, needed)
    denied, missing = ([name for name in needed if name in some] for some in (answer.denied, answer.missing))
    if denied:
        more = f"; topic {', '.join(missing)} does not exist" if missing else ""
        raise Fatal(f"user {kafka.username!r} may not see topic {', '.join(denied)}, or it does not exist{more}", GRANT)
    if missing:
        raise Fatal(f"Kafka has no topic {', '.join(missing)}", "run 'opinionwatch setup'")
    return f"Kafka at {kafka.bootstrap_servers}, topics {', '.join(needed)}"


def all_topics(kafka: KafkaSettings) -> list[str]:
    """Returns the source topics and those that the workers write."""
    return [*kafka.topics, kafka.dead_topic, kafka.progress_topic, kafka.alerts_topic]


def refuse_embedded(kafka: KafkaSettings) -> None:
    """Raises `Fatal` (exit 2) for a command that needs a real Kafka."""
    if kafka.bootstrap_servers == EMBEDDED:
        raise Fatal(
            "this command needs a real Kafka, and kafka.bootstrap_servers is 'embedded'",
            "set kafka.bootstrap_servers in opinionwatch.toml, or OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS=host:port, or "
            "use 'opinionwatch demo'",
            EXIT_USAGE,
        )
