"""What `setup` asks of Kafka for the topics that it makes."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from pipeline.kafka import admin
from pipeline.settings import KafkaSettings


@pytest.mark.parametrize(("replication", "copies"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
def test_a_record_is_durable_on_two_copies_where_there_are_three(
    replication: int, copies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class Admin:
        def __init__(self, **_: Any) -> None: ...

        def list_topics(self) -> list[str]:
            return []

        def create_topics(self, topics: list[Any], **_: Any) -> None:
            made.extend(topics)

        def close(self) -> None: ...

    monkeypatch.setattr(admin, "KafkaAdminClient", Admin)
    monkeypatch.setattr(admin, "connected", lambda _: nullcontext())
    monkeypatch.setattr(admin, "client_options", lambda _: {})
    admin.ensure_topics(KafkaSettings(bootstrap_servers="127.0.0.1:1", replication=replication))
    assert {t.replication_factor for t in made} == {replication}
    assert {t.topic_configs["min.insync.replicas"] for t in made} == {copies}
    assert len(made) == 5
