"""The store on Elasticsearch 8.19 or 9."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

from pipeline.domain.errors import Transient
from pipeline.store.closed_days import utc_now
from pipeline.store.composed import ComposedStore
from pipeline.store.elasticsearch.alerts import ElasticsearchAlerts
from pipeline.store.elasticsearch.annotations import ElasticsearchAnnotations
from pipeline.store.elasticsearch.connection import Connection
from pipeline.store.elasticsearch.indices import Indices
from pipeline.store.elasticsearch.posts import ElasticsearchPosts
from pipeline.store.elasticsearch.progress import ElasticsearchProgress
from pipeline.store.elasticsearch.states import ElasticsearchStates


class ElasticsearchStore(ComposedStore):
    """Implements `Store`; safe to use from several threads."""

    def __init__(
        self,
        url: str,
        *,
        username: str = "",
        password: str = "",
        ca_file: str = "",
        timeout_s: float = 30.0,
        analyzer: str = "standard",
        period: str = "month",
        replicas: int = 0,
        backfill_before: date | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`now` is the wall clock, which tells whether a day is closed and which index is current."""
        self.connection = Connection(url, username, password, ca_file, timeout_s)
        self._indices = Indices(self.connection, analyzer, period, replicas, backfill_before, now)
        states = ElasticsearchStates(self.connection)
        super().__init__(
            posts=ElasticsearchPosts(self.connection, self._indices, states, now),
            annotations=ElasticsearchAnnotations(self.connection),
            alerts=ElasticsearchAlerts(self.connection),
            progress=ElasticsearchProgress(self.connection),
            states=states,
        )

    def setup(self) -> list[str]:
        return self._indices.setup()

    def check(self) -> str:
        self._indices.check()
        health = self.connection.call(lambda es: es.cluster.health(index="opinion-*", level="indices", timeout="10s"))
        if health["status"] == "red":
            red = sorted(name for name, entry in health["indices"].items() if entry["status"] == "red")
            raise Transient(
                f"store {self.connection.url}: index {', '.join(red[:5])} of cluster {health['cluster_name']} is red",
                remedy="GET _cluster/allocation/explain names the reason: bring back the missing node or disk",
            )
        notes = self._indices.health()
        return f"Elasticsearch at {self.connection.url}, {health['status']}, {self.post_count()} posts{notes}"

    def close(self) -> None:
        self.connection.close()
