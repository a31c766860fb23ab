"""Every metric in one place. Law, checked in the fault tests: consumed = indexed + duplicate + dead + in flight."""

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
    """Names as in the contract, prefix `opinionwatch_`; one registry per process (or per test)."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        r = self.registry = registry or CollectorRegistry()
        self.consumed = Counter("opinionwatch_posts_consumed", "Records taken from Kafka", registry=r)
        self.indexed = Counter("opinionwatch_posts_indexed", "Documents newly written", registry=r)
        self.duplicate = Counter(
            "opinionwatch_posts_duplicate", "Records whose document was there", ["cause"], registry=r
        )
        self.dead = Counter("opinionwatch_posts_dead", "Dead letters", ["stage", "reason"], registry=r)
        self.ignored = Counter(
            "opinionwatch_fields_ignored", "Fields of posts whose value could not be used", ["field"], registry=r
        )
        self.skipped = Counter(
            "opinionwatch_records_skipped", "Records that Kafka deleted before they were read", ["topic"], registry=r
        )
        self.in_flight = Gauge("opinionwatch_posts_in_flight", "Records taken, not yet durable", registry=r)
        self.lag = Gauge("opinionwatch_consumer_lag", "Records behind the end", ["topic", "partition"], registry=r)
        self.batch = Histogram("opinionwatch_batch_size", "Records per micro-batch", buckets=_SIZES, registry=r)
        self.tokens = Counter("opinionwatch_tokens", "Tokens inferred", registry=r)
        self.padding = Counter("opinionwatch_padding_tokens", "Padding tokens inferred", registry=r)
        self.cache = Counter("opinionwatch_cache_lookups", "Label cache look-ups", ["outcome"], registry=r)
        self.cache_bytes = Gauge("opinionwatch_cache_bytes", "Memory of the label cache, estimated", registry=r)
        self.inference = Histogram("opinionwatch_inference_seconds", "Per batch", buckets=_SECONDS, registry=r)
        self.indexing = Histogram("opinionwatch_index_seconds", "Per batch", buckets=_SECONDS, registry=r)
        self.received_to_indexed = Histogram(
            "opinionwatch_received_to_indexed_seconds", "Per batch", buckets=_SECONDS, registry=r
        )
        self.published_to_indexed = Histogram(
            "opinionwatch_published_to_indexed_seconds",
            "Oldest post of a batch, event time to index",
            buckets=(*_SECONDS, 3600, 86400),
            registry=r,
        )
        self.retries = Counter("opinionwatch_retries", "Transient failures retried", ["stage"], registry=r)
        self.evaluations = Counter("opinionwatch_alert_evaluations", "Buckets evaluated", registry=r)
        self.evaluation_lag = Gauge(
            "opinionwatch_alert_evaluation_lag_seconds", "Event time reached less event time evaluated", registry=r
        )
        self.no_data = RenamedGauge(
            "opinionwatch_alert_no_data", "opinionwatch_alert_blind", "1 while no verdict is possible", r
        )
        self.source_outage = RenamedGauge(
            "opinionwatch_source_outage_missing_posts",
            "opinionwatch_source_silent",
            "Posts expected since the last post of a source that has an outage",
            r,
            ["source"],
        )
        self.threshold = Gauge("opinionwatch_alert_threshold", "Score from which a key fires", ["tier"], registry=r)
        self.false_alerts = Gauge(
            "opinionwatch_alert_backtested_rate", "Episodes per key-week of the calibration", ["tier"], registry=r
        )
        self.open_alerts = Gauge("opinionwatch_alerts_open", "Open alerts", ["severity"], registry=r)
        self.notifications = Counter(
            "opinionwatch_notifications", "Notifications by channel and outcome", ["channel", "outcome"], registry=r
        )
        self.notifications_pending = Gauge(
            "opinionwatch_notifications_pending",
            "Alerts that a channel has still to be told of",
            ["channel"],
            registry=r,
        )
        self.unnotified = Gauge(
            "opinionwatch_alerts_unnotified", "Open alerts that no channel has taken and none will", registry=r
        )
        self.model = Gauge("opinionwatch_model_info", "1 for the model in service", ["name", "version"], registry=r)
        self.swaps = Counter(
            "opinionwatch_model_swaps", "Models taken into service or refused", ["outcome"], registry=r
        )
        for outcome in ("taken", "refused"):  # increase() does not see the first event of a series that is new
            self.swaps.labels(outcome)
        self.wanted = Gauge(
            "opinionwatch_model_wanted_info", "1 for the version that the registry names", ["version"], registry=r
        )
        self.behind = Gauge(
            "opinionwatch_model_behind", "1 while another version serves than the registry names", registry=r
        )
        self.shadow = Counter(
            "opinionwatch_shadow_labels",
            "Labels of the challenger beside the champion's",
            ["head", "agree"],
            registry=r,
        )
        self.drift = Gauge(
            "opinionwatch_drift", "Jensen-Shannon divergence from the training reference, in bits", ["head"], registry=r
        )
        self.label_queue = Gauge("opinionwatch_labels", "Labels given by people", registry=r)

    def keep_lag(self, held: Collection[tuple[str, int]]) -> None:
        """Takes out the lag of the partitions that are not `held`: another process shows them now."""
        for sample in [s for family in self.lag.collect() for s in family.samples]:
            topic, partition = sample.labels["topic"], sample.labels["partition"]
            if (topic, int(partition)) not in held:
                self.lag.remove(topic, partition)

    def serves(self, name: str, version: str) -> None:
        """Says which model labels from now on."""
        self.model.clear()
        self.model.labels(name, version).set(1)

    def wants(self, wanted: str, serving: str) -> None:
        """Says which version the registry names, and whether it is the one that serves."""
        self.wanted.clear()
        self.wanted.labels(wanted).set(1)
        self.behind.set(wanted != serving)
