"""Posts and fakes that several test groups share."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.engine import Encoded
from models.heads import Head, Prediction
from models.json_types import JsonObject
from models.mentions import Mentions
from models.prevalence import ScoreGroup
from models.runtimes import EngineError
from pipeline.alerting.detection.verdicts import KeyCounts
from pipeline.classify.codec import decode
from pipeline.domain.alert import Alert
from pipeline.domain.post import Origin, Record, ScoredPost
from pipeline.domain.post_document import PostDocument
from pipeline.domain.states import StateKey

START = datetime(2026, 3, 2, tzinfo=UTC)
HEADS = {
    "topic": Head("topic", ("sports", "technology")),
    "sentiment": Head("sentiment", ("negative", "neutral", "positive")),
}


def as_dict(value: JsonObject) -> dict[str, Any]:
    """The JSON as it is decoded, for a test that looks into it or changes it."""
    decoded: dict[str, Any] = json.loads(json.dumps(value))
    return decoded


def json_key(name: str) -> StateKey[dict[str, Any]]:
    """The key of a state whose JSON a test reads or writes as it is stored."""
    return StateKey(name, dict, dict)


def with_labels(document: PostDocument, *, corrected: bool = False, **labels: str) -> PostDocument:
    """The document with these classes of its heads."""
    scored_anew = document.scored._replace(labels={**document.labels, **labels})
    return replace(document, scored=scored_anew, corrected=corrected)


def record(offset: int, partition: int = 0, topic: str = "opinion.forum", **fields: Any) -> Record:
    """A record of a valid post; `minute` sets its time after START."""
    minute = fields.pop("minute", offset)
    at = START + timedelta(minutes=minute)
    post = {"v": 1, "id": str(offset), "source": "test", "text": f"post {offset}", "published_at": at.isoformat()}
    value = json.dumps({**post, **fields}, ensure_ascii=False).encode()
    return Record(Origin(topic, partition, offset), round(at.timestamp() * 1000), value)


def scored(offset: int, *, sentiment: str = "neutral", topic: str = "technology", **fields: Any) -> ScoredPost:
    """A labelled post as the flow hands it to a store."""
    subjects = tuple(fields.pop("subjects", ()))
    negative = fields.pop("negative_score", 0.9 if sentiment == "negative" else 0.1)
    post = decode(record(offset, **fields))
    labels = {"topic": topic, "sentiment": sentiment}
    return ScoredPost(post, labels, {"topic": 0.8, "sentiment": 0.7}, negative, subjects, "dummy", "1")


def an_alert(alert_id: str = "a", **fields: Any) -> Alert:
    """An open alert of the topic x, with these fields of its JSON in place of the usual ones."""
    usual = {"key": "topic:x", "topic": "x", "started_at": START.isoformat(), "severity": "warning", "state": "open"}
    return Alert.from_json(alert_id, {**usual, **fields})


def counted(posts: NDArray[np.int64], negatives: NDArray[np.int64]) -> KeyCounts:
    """Counts of keys whose labels are counted, [n_keys, buckets]."""
    return KeyCounts(posts, negatives, np.zeros(posts.shape), np.zeros(len(posts), np.int64))


class DummyClassifier:
    """Deterministic: negative where the text says "bad", the topic by a hash; raises where it says "nan"."""

    name, version = "dummy", "1"
    reference = None
    prevalence: Mapping[str, Sequence[ScoreGroup]] = {}

    def __init__(self) -> None:
        self.tokens = self.padded_tokens = 0
        self.texts: list[str] = []

    def unknown_share(self, texts: Sequence[str]) -> float:
        return 0.0

    def predict(self, texts: Sequence[str], mentions: Sequence[Mentions] | None = None) -> list[Prediction]:
        return self.infer(self.encode(texts, mentions))

    def encode(self, texts: Sequence[str], mentions: Sequence[Mentions] | None = None) -> Encoded:
        return Encoded(texts, [[[1, 2]]] * len(texts), self, mentions or ())

    def infer(self, encoded: Encoded) -> list[Prediction]:
        texts = encoded.texts
        if any("nan" in text for text in texts):
            raise EngineError("not a number")
        self.texts += texts
        return [self._one(text) for text in texts]

    @staticmethod
    def _one(text: str) -> Prediction:
        topic = np.array([0.2, 0.8] if hashlib.md5(text.encode()).digest()[0] % 2 else [0.8, 0.2], np.float32)
        sentiment = np.array([0.8, 0.1, 0.1] if "bad" in text else [0.1, 0.8, 0.1], np.float32)
        return Prediction(HEADS, {"topic": topic, "sentiment": sentiment}, "dummy", "1")


#: When the surge of `surge` begins.
SURGE = START + timedelta(days=8, hours=10)


def surge() -> list[ScoredPost]:
    """Eight days of a brand and of its topic; on the ninth the brand has eight times its posts for two hours."""
    rng = random.Random(5)
    posts = [(rng.uniform(0, 9 * 1440), "Nova" if rng.random() < 0.5 else "") for _ in range(9 * 24 * 16)]
    posts += [(8 * 1440 + 600 + rng.uniform(0, 120), "Nova") for _ in range(130)]
    rows = []
    for i, (at, subject) in enumerate(sorted(posts)):
        sentiment = "negative" if rng.random() < 0.2 else "neutral"
        rows.append(scored(i, minute=at, text=f"v{i}", sentiment=sentiment, subjects=[subject] if subject else []))
    return rows
