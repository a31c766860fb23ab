"""Every metric. The fault tests check the law consumed = indexed + duplicate + dead + in flight."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class RenamedGauge:
    """A gauge that is exported under its name and, for one release, under its former name as well."""

    def __init__(
        self, name: str, former_name: str, documentation: str, registry: CollectorRegistry, labels: Sequence[str] = ()
    ) -> None:
        self._gauges = (
            Gauge(name, documentation, labels, registry=registry),
            Gauge(former_name, f"Former name of {name}", labels, registry=registry),
        )

    def set(self, value: float, *labels: str) -> None:
        """Sets the gauge of these label values."""
        for gauge in self._gauges:
            (gauge.labels(*labels) if labels else gauge).set(value)

    def clear(self) -> None:
        """Removes every label value."""
        for gauge in self._gauges:
            gauge.clear()


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        r = self.registry = registry or CollectorRegistry()
        self.consumed = Counter("opinionwatch_posts_consumed", "Records taken from Kafka", registry=r)
        self.indexed = Counter("opinionwatch_posts_indexed", "Documents newly written", registry=r)
        self.duplicate = Counter(
            "opinionwatch_posts_duplicate", "Records that already had a document, by cause", ["cause"], registry=r
        )
        self.dead = Counter(
            "opinionwatch_posts_dead", "Dead letters, by stage and reason", ["stage", "reason"], registry=r
        )
        self.ignored = Counter(
            "opinionwatch_fields_ignored",
            "Fields of posts that were ignored because their value could not be used",
            ["field"],
            registry=r,
        )
        self.skipped = Counter(
            "opinionwatch_records_skipped",
            "Records that Kafka deleted before a worker read them",
            ["topic"],
            registry=r,
        )
        self.in_flight = Gauge(
            "opinionwatch_posts_in_flight", "Records that were taken and are not durable yet", registry=r
        )
        self.lag = Gauge(
            "opinionwatch_consumer_lag",
            "Records that are left to read, by partition",
            ["topic", "partition"],
            registry=r,
        )
        self.batch = Histogram("opinionwatch_batch_size", "Records per micro-batch", buckets=_SIZES, registry=r)
        self.tokens = Counter("opinionwatch_tokens", "Tokens that the model read, padding left out", registry=r)
        self.padding = Counter("opinionwatch_padding_tokens", "Padding tokens that the model read", registry=r)
        self.cache = Counter(
            "opinionwatch_cache_lookups", "Look-ups in the label cache, by outcome", ["outcome"], registry=r
        )
        self.cache_bytes = Gauge("opinionwatch_cache_bytes", "Estimated memory of the label cache", registry=r)
        self.inference = Histogram(
            "opinionwatch_inference_seconds", "Time to classify a batch", buckets=_SECONDS, registry=r
        )
        self.indexing = Histogram("opinionwatch_index_seconds", "Time to index a batch", buckets=_SECONDS, registry=r)
        self.received_to_indexed = Histogram(
            "opinionwatch_received_to_indexed_seconds",
            "Time from receiving a batch to having it indexed",
            buckets=_SECONDS,
            registry=r,
        )
        self.published_to_indexed = Histogram(
            "opinionwatch_published_to_indexed_seconds",
            "Time from the event time of the oldest post of a batch to having it indexed",
            buckets=(*_SECONDS, 3600, 86400),
            registry=r,
        )
        self.retries = Counter(
            "opinionwatch_retries", "Retries after transient failures, by stage", ["stage"], registry=r
        )
        self.evaluations = Counter("opinionwatch_alert_evaluations", "Buckets that were evaluated", registry=r)
        self.evaluation_lag = Gauge(
            "opinionwatch_alert_evaluation_lag_seconds",
            "Event time that was indexed less event time that was evaluated",
            registry=r,
        )
        self.no_data = RenamedGauge(
            "opinionwatch_alert_no_data",
            "opinionwatch_alert_blind",
            "1 while the alert role lacks the data to judge",
            r,
        )
        self.source_outage = RenamedGauge(
            "opinionwatch_source_outage_missing_posts",
            "opinionwatch_source_silent",
            "Posts that were expected since the last post of a source with an outage",
            r,
            ["source"],
        )
        self.threshold = Gauge(
            "opinionwatch_alert_threshold", "Score at which a key fires, by volume tier", ["tier"], registry=r
        )
        self.false_alerts = Gauge(
            "opinionwatch_alert_backtested_rate",
            "Episodes per key-week in the calibration, by volume tier",
            ["tier"],
            registry=r,
        )
        self.open_alerts = Gauge("opinionwatch_alerts_open", "Open alerts, by severity", ["severity"], registry=r)
        self.notifications = Counter(
            "opinionwatch_notifications", "Notifications, by channel and outcome", ["channel", "outcome"], registry=r
        )
        self.notifications_pending = Gauge(
            "opinionwatch_notifications_pending",
            "Alerts that still have to be sent to a channel",
            ["channel"],
            registry=r,
        )
        self.unnotified = Gauge(
            "opinionwatch_alerts_unnotified", "Open alerts that no channel has accepted or will accept", registry=r
        )
        self.model = Gauge(
            "opinionwatch_model_info", "1 for the model that classifies posts", ["name", "version"], registry=r
        )
        self.swaps = Counter(
            "opinionwatch_model_swaps",
            "Models that were taken into service or refused, by outcome",
            ["outcome"],
            registry=r,
        )
        for outcome in ("taken", "refused"):  # increase() misses the first event of a new series
            self.swaps.labels(outcome)
        self.wanted = Gauge(
            "opinionwatch_model_wanted_info",
            "1 for the version that the registry wants to be served",
            ["version"],
            registry=r,
        )
        self.behind = Gauge(
            "opinionwatch_model_behind", "1 while the served version is not the one that the registry wants", registry=r
        )
        self.shadow = Counter(
            "opinionwatch_shadow_labels",
            "Labels of the challenger, by head and by agreement with the champion",
            ["head", "agree"],
            registry=r,
        )
        self.drift = Gauge(
            "opinionwatch_drift",
            "Jensen-Shannon divergence from the training reference in bits, by head",
            ["head"],
            registry=r,
        )
        self.label_queue = Gauge("opinionwatch_labels", "Annotations in the store", registry=r)

    def keep_lag(self, held: Collection[tuple[str, int]]) -> None:
        """Removes the lag of all partitions but those `held`: other processes export it now."""
        for sample in [s for family in self.lag.collect() for s in family.samples]:
            topic, partition = sample.labels["topic"], sample.labels["partition"]
            if (topic, int(partition)) not in held:
                self.lag.remove(topic, partition)

    def serves(self, name: str, version: str) -> None:
        """Exports which model classifies posts from now on."""
        self.model.clear()
        self.model.labels(name, version).set(1)

    def wants(self, wanted: str, serving: str) -> None:
        """Exports which version the registry wants to be served, and whether it is served."""
        self.wanted.clear()
        self.wanted.labels(wanted).set(1)
        self.behind.set(wanted != serving)
