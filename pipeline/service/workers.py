"""The workers: Faust apps wired to the flow and to the alert role. Runs them in one asyncio loop until told to stop."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.evaluation.overrides import KeyOverride
from pipeline.alerting.evaluation.replay import Replay
from pipeline.alerting.evaluation.volume_lane import CALM, VolumeLane
from pipeline.alerting.notify.factory import make_channels
from pipeline.alerting.worker import AlertWorker
from pipeline.classify.dead_letter_limit import DeadLetterLimit
from pipeline.classify.flow import Flow
from pipeline.classify.stage import Classifier, ClassifyStage
from pipeline.classify.start_offsets import StartOffsets
from pipeline.classify.subjects import matcher
from pipeline.domain.errors import Transient
from pipeline.domain.ledger import NO_CLOCK
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import Record
from pipeline.domain.progress import Progress
from pipeline.domain.readable import readable
from pipeline.domain.threads import DaemonThreads
from pipeline.kafka.agent import choose_start_offsets, consume
from pipeline.kafka.app import make_app, raw_topic, start
from pipeline.kafka.partitions import assigned, log_identities
from pipeline.kafka.strict import StrictApp
from pipeline.kafka.supervision import Supervisor
from pipeline.kafka.writers import DeadTopic, ProgressTopic, send
from pipeline.settings import AlertSettings, Settings
from pipeline.store.protocol import EvaluationStore, MonitoringStore

log = logging.getLogger(__name__)
HEARTBEAT_S = 2.0
LOOK_S = 1.0
#: How long `Workers.close` waits for the apps to commit and to leave their groups.
GRACE_S = 6.0
#: Heartbeats between two looks whether the topics are still the logs that are read.
LOGS_EVERY = 5


class Workers:
    """The roles of one process. `start`, then `wait` until `stop` is called or something fails."""

    def __init__(self, settings: Settings, brokers: str, store: MonitoringStore, metrics: Metrics) -> None:
        self._settings, self._brokers, self._store, self.metrics = settings, brokers, store, metrics
        self._apps: list[StrictApp] = []
        self._supervisors: list[Supervisor] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._background: list[Callable[[], Awaitable[None]]] = []
        self._executor = DaemonThreads(4, "flow")
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.started = False
        self.classifier: Classifier | None = None
        self.flow: Flow | None = None
        self.alerts: AlertWorker | None = None

    def add_classify(self, classifier: Classifier) -> None:
        """Posts from the source topics into the store."""
        kafka, settings = self._settings.kafka, self._settings
        app = make_app("classify", kafka, self._brokers)
        self.classifier = classifier
        for topic in kafka.topics:
            self.metrics.skipped.labels(topic)  # so that the first increase is seen as one
        counting = settings.alerts.counting
        start_offsets = StartOffsets(kafka.on_deleted, self.metrics)
        classify_stage = ClassifyStage(
            classifier, matcher(settings), counting, self.metrics, settings.model.cache_mb * 1_000_000
        )
        self.flow = Flow(
            classify_stage=classify_stage,
            store=self._store,
            dead_letters=DeadTopic(raw_topic(app, kafka.dead_topic), app),
            progress=ProgressTopic(app, raw_topic(app, kafka.progress_topic)),
            dead_letter_limit=DeadLetterLimit(
                settings.flow.dead_letter_limit, settings.flow.dead_letter_share, settings.flow.dead_letter_window_s
            ),
            metrics=self.metrics,
            executor=self._executor,
            start_offsets=start_offsets,
            # The demo's feed has days of its own.
            horizon=(lambda: NO_CLOCK) if settings.embedded else None,
        )
        flow = self.flow
        app.on_partitions_assigned.connect(_reloader(flow), weak=False)
        source = raw_topic(app, *kafka.topics)
        consume(app, source, flow.process, settings.flow, self.fail, lambda: flow.stalled is not None, flow.slack_s)
        choose_start_offsets(app, flow.start_offsets, self.fail)
        self._apps.append(app)
        self._supervisors.append(Supervisor(app, kafka.topics))
        self._background += [lambda: self._heartbeat(app, flow, start_offsets), lambda: self._keep_lag(app)]

    def add_alert(self, ceiling: Callable[[], datetime | None] = lambda: None) -> None:
        """Evaluation and notification; stands by while another process holds the progress partition.

        Nothing is judged later than `ceiling()`.
        """
        kafka, settings = self._settings.kafka, self._settings
        app = make_app("alert", kafka, self._brokers)
        alerts_topic = raw_topic(app, kafka.alerts_topic)

        async def publish(key: str, alert: Mapping[str, Any]) -> None:
            await send(alerts_topic, key.encode(), json.dumps(alert, ensure_ascii=False).encode())

        self.alerts = AlertWorker(
            store=self._store,
            evaluator=make_evaluator(self._store, settings.alerts),
            settings=settings.alerts,
            rules=key_overrides(settings.alerts),
            channels=make_channels(settings.alerts),
            publish=publish,
            topics=kafka.topics,
            holds=lambda: 0 in assigned(app, kafka.progress_topic),
            ceiling=ceiling,
            metrics=self.metrics,
            horizon=(lambda: NO_CLOCK) if settings.embedded else None,
        )
        worker = self.alerts

        async def on_progress(records: Sequence[Record]) -> None:
            values = (r.value for r in records if r.value)
            worker.on_progress(
                list(readable(kafka.progress_topic, values, lambda value: Progress.from_json(json.loads(value))))
            )

        consume(app, raw_topic(app, kafka.progress_topic), on_progress, settings.flow, self.fail)
        self._apps.append(app)
        self._supervisors.append(Supervisor(app, [kafka.progress_topic]))
        self._background.append(worker.run)

    async def start(self) -> None:
        # A batch makes some ten thousand objects that all live until it is indexed: the collector's usual
        # thresholds would walk them again and again (5 % of the flow, measured).
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        await asyncio.gather(*(start(app, self._brokers) for app in self._apps))
        background = [*self._background, self._watch]
        self._tasks = [asyncio.create_task(self._guarded(work)) for work in background]
        self.started = True

    def not_ready(self) -> str | None:
        """What keeps this process from making progress; None where nothing does."""
        if not self.started or self._ended.done():
            return "ending" if self._ended.done() else "starting"
        if self.flow and self.flow.stalled:
            return f"retrying: {self.flow.stalled}"
        if self.alerts and self.alerts.no_data:
            return f"no data: {self.alerts.no_data}"
        waits = bool(self.flow and self.flow.stalled)
        return next((reason for s in self._supervisors if (reason := s.not_ready(waiting=waits))), None)

    async def wait(self) -> None:
        """Returns after `stop`; raises what failed."""
        await asyncio.shield(self._ended)

    def stop(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def fail(self, error: BaseException) -> None:
        """Ends `wait` with `error`; the first one counts."""
        if not self._ended.done():
            self._ended.set_exception(error)

    async def close(self, grace_s: float = GRACE_S) -> None:
        """Stops reading, commits what is acked, leaves the groups; after `grace_s` it waits for nothing more."""
        for task in self._tasks:
            task.cancel()
        stops = [asyncio.create_task(app.stop(), name=app.conf.id) for app in self._apps if app.started]
        if waited := [*self._tasks, *stops]:
            await asyncio.wait(waited, timeout=grace_s)
        for stop in stops:
            error = "no answer" if not stop.done() else stop.cancelled() or stop.exception()
            if error:
                log.warning(
                    "%s did not leave its group (%s): the others get its partitions later", stop.get_name(), error
                )
        self._executor.shutdown()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.fail(error)

    async def _watch(self) -> None:
        """Ends the process with what died inside Faust."""
        while True:
            for supervisor in self._supervisors:
                if error := supervisor.look():
                    raise error
            await asyncio.sleep(LOOK_S)

    async def _keep_lag(self, app: StrictApp) -> None:
        """Takes partitions that moved away out of the metrics, also while the heartbeat waits for the store."""
        while True:
            self.metrics.keep_lag(self._held(app))
            await asyncio.sleep(LOOK_S)

    def _held(self, app: StrictApp) -> set[tuple[str, int]]:
        """Source partitions of this process."""
        return {(t, p) for t in self._settings.kafka.topics for p in assigned(app, t)}

    async def _heartbeat(self, app: StrictApp, flow: Flow, start_offsets: StartOffsets) -> None:
        """Progress without news, so that the alert role sees a lag that grows and an idle that lasts."""
        topics = self._settings.kafka.topics
        for beat in count(1):
            await asyncio.sleep(HEARTBEAT_S)
            await flow.publish_progress(self._held(app))
            if beat % LOGS_EVERY == 0:
                with suppress(Transient):  # whether Kafka answers at all is what the flow and its progress say
                    start_offsets.refuse_replaced_logs(await log_identities(app, topics))


def _reloader(flow: Flow) -> Callable[..., Awaitable[None]]:
    async def reload(*_args: Any, **_kwargs: Any) -> None:
        flow.reload()

    return reload


def make_evaluator(store: EvaluationStore, settings: AlertSettings) -> Evaluator:
    """An evaluator over a store, with the detector configuration and the policy of the settings."""
    overrides, loud, policy = key_overrides(settings), settings.volume, _policy(settings)
    surge = replace(policy, fire=loud.fire, critical=loud.critical, calm=CALM)
    volume = VolumeLane(surge, overrides, enabled=loud.enabled)
    return Evaluator(store, settings.counting, _detector_config(settings), policy, overrides, volume)


def make_replay(store: EvaluationStore, settings: AlertSettings) -> Replay:
    """A replay of the evaluator that these settings make."""
    overrides = key_overrides(settings)
    return Replay(store, settings.counting, _detector_config(settings), _policy(settings), overrides)


def _detector_config(settings: AlertSettings) -> DetectorConfig:
    return DetectorConfig(min_negatives=settings.min_negatives, min_lift=settings.min_lift)


def _policy(settings: AlertSettings) -> Policy:
    return Policy(settings.fire, settings.critical, remind=timedelta(seconds=settings.renotify_s))


def key_overrides(settings: AlertSettings) -> list[KeyOverride]:
    """Those of `alerts.overrides`."""
    return [
        KeyOverride(
            keys=tuple(r.keys),
            watch=r.watch,
            fire=r.fire,
            critical=r.critical,
            at_most_warning=r.at_most == "warning",
            min_negatives=r.min_negatives,
            min_lift=r.min_lift,
            min_authors=r.min_authors,
        )
        for r in settings.overrides
    ]
