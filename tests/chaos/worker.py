"""`opinionwatch run ROLE` with a fast classifier and the faults that CHAOS_FAULTS (JSON) names.

kill_after_index: N     SIGKILL right after the N-th index write returned, before its commit
index_raises: [N, ...]  these index writes fail before they are made
index_sleeps: S         seconds that each index write takes longer
slow_batch: [N, S]      the N-th batch takes S seconds to classify
max_poll_s: S           Kafka's max.poll.interval
classifier_raises: N    from the N-th batch on every text meets a bug
bug_on: WORD            a text with the word meets a bug
memory_for: N           batches of more than N texts run out of memory
dies_in: [PART, N]      the N-th call in a part of Faust or aiokafka (`PARTS`) raises
commits_fail: [ERROR, N]  the first N commits of posts raise an error of aiokafka
hangs_in: STEP          a step of the start (store, kafka or model) never ends
kill_after_told: N      SIGKILL right after a webhook took the N-th message, before that is written down
refused_s: S            a channel that refuses is tried again after S seconds
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

import aiokafka
from aiokafka import errors
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.producer.message_accumulator import MessageAccumulator

from models.engine import Encoded
from models.heads import Prediction
from models.inference import OutOfMemoryError
from pipeline.alerting.notify import queue
from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.notify.channels.webhook import WebhookChannel
from pipeline.cli.run import worker as run
from pipeline.domain.errors import Transient
from pipeline.kafka import topic_check
from pipeline.kafka.strict import StrictConsumer
from pipeline.service import alert_role, classify_role
from tests.builders import DummyClassifier

FAULTS: dict[str, Any] = json.loads(os.environ.get("CHAOS_FAULTS", "{}"))


PARTS: dict[str, tuple[Any, str]] = {
    "look at the fetcher": (StrictConsumer, "_wait_next_records"),
    "fetch routine": (Fetcher, "_get_actions_per_node"),
    "heartbeat": (GroupCoordinator, "_do_heartbeat"),
    "sender": (MessageAccumulator, "drain_by_nodes"),
}


class _Classifier(DummyClassifier):
    def __init__(self) -> None:
        super().__init__()
        self._calls = 0

    def infer(self, encoded: Encoded) -> list[Prediction]:
        self._calls += 1
        if len(encoded.texts) > FAULTS.get("memory_for", 1 << 30):
            raise OutOfMemoryError("no memory")
        if self._calls >= FAULTS.get("classifier_raises", 1 << 30):
            raise RuntimeError("a bug in the classifier")
        if "bug_on" in FAULTS and any(FAULTS["bug_on"] in text for text in encoded.texts):
            raise RuntimeError("a bug that one text meets")
        number, seconds = FAULTS.get("slow_batch", (0, 0))
        if self._calls == number:
            time.sleep(seconds)
        self.texts.clear()
        return super().infer(encoded)


def faulty(store: Any) -> Any:
    index, calls = store.index, 0

    def wrapped(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in FAULTS.get("index_raises", ()):
            raise Transient("a fault on purpose", 0.1)
        time.sleep(FAULTS.get("index_sleeps", 0))
        outcomes = index(*arguments)
        if calls == FAULTS.get("kill_after_index"):
            os.kill(os.getpid(), signal.SIGKILL)
        return outcomes

    store.index = wrapped
    if FAULTS.get("hangs_in") == "store":
        store.check = hang
    return store


def dies(owner: Any, name: str, number: int) -> None:
    """From the `number`-th call on, the method raises."""
    real, calls = getattr(owner, name), 0

    def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= number:
            raise RuntimeError("a bug on purpose")
        return real(*arguments, **named)

    setattr(owner, name, wrapped)


def fail_commits(error: str, times: int) -> None:
    real, failed = aiokafka.AIOKafkaConsumer.commit, 0

    async def commit(self: Any, offsets: Any = None) -> Any:
        nonlocal failed
        if failed < times:
            failed += 1
            raise getattr(errors, error)("on purpose")
        return await real(self, offsets)

    aiokafka.AIOKafkaConsumer.commit = commit


def hang(*_: Any) -> Any:
    time.sleep(600)


def kill_after_told(number: int) -> None:
    send, calls = WebhookChannel.send, 0

    async def wrapped(self: WebhookChannel, notice: Notice) -> None:
        nonlocal calls
        await send(self, notice)
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)

    WebhookChannel.send = wrapped  # type: ignore[method-assign]


def main() -> None:
    """Runs the command line with its classifier and its store replaced."""
    from pipeline.cli.main import main as command_line

    queue.REFUSED_S = FAULTS.get("refused_s", queue.REFUSED_S)
    if "kill_after_told" in FAULTS:
        kill_after_told(FAULTS["kill_after_told"])

    command: Any = run
    classify: Any = classify_role
    alert: Any = alert_role
    topics: Any = topic_check
    open_store, make_app = command.open_store, classify.make_app
    command.open_store = lambda settings: faulty(open_store(settings))
    command.serve_classifier = hang if FAULTS.get("hangs_in") == "model" else lambda *_: _Classifier()
    if FAULTS.get("hangs_in") == "kafka":
        topics.check_topics = hang
    if "dies_in" in FAULTS:
        part, number = FAULTS["dies_in"]
        dies(*PARTS[part], number)
    if "commits_fail" in FAULTS:
        fail_commits(*FAULTS["commits_fail"])

    def patched(*arguments: Any) -> Any:
        app = make_app(*arguments)
        if "max_poll_s" in FAULTS:
            app.conf.broker_max_poll_interval = FAULTS["max_poll_s"]
        return app

    classify.make_app = alert.make_app = patched
    sys.exit(command_line())


if __name__ == "__main__":
    main()
