"""Stock Faust with the same sink and the same faults, as its documentation writes an agent: `events` or `take`.

`python -m tests.chaos.stock_worker PATTERN`; brokers, topic, group and store come from the environment of a trial.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

import faust

from models.heads import Prediction
from pipeline.classify.codec import decode
from pipeline.domain.post import Origin, Record, ScoredPost
from pipeline.store.elasticsearch.store import ElasticsearchStore
from tests.builders import DummyClassifier
from tests.chaos.worker import faulty

PREFIX = "OPINIONWATCH_"
BATCH = 100


def scored(raw: bytes, offset: int) -> ScoredPost:
    """Raises what `decode` raises, as an agent that trusts its input does."""
    post = decode(Record(Origin("stock", 0, offset), 0, raw))
    prediction: Prediction = DummyClassifier().predict([post.full_text])[0]
    labels = {h: prediction.label(h) for h in prediction.heads}
    return ScoredPost(post, labels, {h: 0.9 for h in labels}, 0.1, (), "dummy", "1")


def make_app(pattern: str) -> Any:
    kafka = {k.removeprefix(f"{PREFIX}KAFKA__"): v for k, v in os.environ.items() if k.startswith(f"{PREFIX}KAFKA__")}
    store = faulty(ElasticsearchStore(os.environ[f"{PREFIX}STORE__URL"]))
    app = faust.App(
        f"{kafka['GROUP']}-classify", broker=f"kafka://{kafka['BOOTSTRAP_SERVERS']}", store="memory://",
        web_enabled=False, topic_allow_declare=False, topic_disable_leader=True,
        consumer_auto_offset_reset="earliest", broker_session_timeout=float(kafka["SESSION_TIMEOUT_S"]),
        broker_heartbeat_interval=1.0, broker_commit_interval=1.0, stream_wait_empty=False,
    )  # fmt: skip
    topic = app.topic(json.loads(kafka["TOPICS"])[0], key_type=bytes, value_type=bytes, value_serializer="raw")

    def write(values: list[bytes]) -> None:
        store.index([scored(v, i) for i, v in enumerate(values)], datetime.now(UTC), 1)

    async def events(stream: Any) -> None:
        async for event in stream.events():
            write([event.value])

    async def take(stream: Any) -> None:
        async for values in stream.take(BATCH, within=0.1):
            write(list(values))

    app.agent(topic)({"events": events, "take": take}[pattern])
    return app


if __name__ == "__main__":
    app = make_app(sys.argv[1])
    sys.argv = ["faust", "worker", "-l", "warn", "--without-web"]
    app.main()
