"""What a retraining and its gate read from the store. Blocking; does not import torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np

from models.atomic_file import replacing
from models.files.annotation_files import PEOPLE, REHEARSAL
from models.json_types import JsonObject
from models.text import content_hash
from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.counting.table import key_name
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.evaluation.backtest import episodes, negative_scores
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.annotation.relabelling import NO_SUBJECTS, predictions_of, relabelled
from pipeline.annotation.targets import target_fields
from pipeline.classify.stage import Classifier
from pipeline.classify.subjects import SubjectMatcher
from pipeline.domain.counting import BUCKET_S, NegativeDefinition, Scope
from pipeline.domain.post_document import PostDocument
from pipeline.domain.states import LAST_TRAINING, LastTraining
from pipeline.settings import AlertSettings
from pipeline.store.protocol import AnnotatedPostStore, PostStore, StateStore

#: Rehearsal posts, which keep the model from forgetting, come evenly from this many parts of the last 30 days.
REHEARSAL_TIME, REHEARSAL_PARTS = timedelta(days=30), 24
BACKTEST_POSTS = 20_000
BACKTEST_DAYS = 7


def annotations_trained_on(store: StateStore, there: int) -> int:
    """How many of the `there` annotations in the store the last training had; dropped ones no longer count."""
    last = store.state(LAST_TRAINING) or LastTraining()
    if last.labels > there:
        store.put_state(LAST_TRAINING, replace(last, labels=there))
    return min(last.labels, there)


def write_training_rows(
    store: AnnotatedPostStore,
    path: Path,
    heads: Mapping[str, Sequence[str]],
    rehearsal: int,
    subjects: SubjectMatcher = NO_SUBJECTS,
) -> Counter[str]:
    """Writes the annotations and `rehearsal` posts per annotation with the model's own labels; counts both.

    `subjects` finds the mention that an annotation of a subject is about; one whose text does not name it is left out.
    """
    written: Counter[str] = Counter()
    annotations = [
        annotation for annotation in store.annotations() if annotation.label in heads.get(annotation.head, ())
    ]
    taken = {content_hash(annotation.text) for annotation in annotations}
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        for annotation in annotations:
            target = target_fields(annotation, subjects) if annotation.subject else {}
            if annotation.subject and not target:
                written["labels without a mention"] += 1
                continue
            row: JsonObject = {
                "id": annotation.post,
                "text": annotation.text,
                "labels": {annotation.head: annotation.label},
                "source": PEOPLE,
                "annotator": annotation.annotator,
                "at": annotation.at.isoformat(),
                **target,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            written["labels"] += 1
        for row in _rehearsal(store, heads, taken, rehearsal * len(annotations)):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            written["rehearsal"] += 1
    return written


def _rehearsal(
    store: PostStore, heads: Mapping[str, Sequence[str]], taken: set[str], wanted: int
) -> Iterator[JsonObject]:
    """At most `wanted` posts, spread evenly over the last days."""
    bounds = store.bounds()
    if bounds is None:
        return
    end = bounds[1] + timedelta(seconds=1)
    start = max(bounds[0], end - REHEARSAL_TIME)
    part = (end - start) / REHEARSAL_PARTS
    parts = [
        list(islice(_usable(store, heads, start + i * part, start + (i + 1) * part), -(-wanted // 4)))
        for i in range(REHEARSAL_PARTS)
    ]
    in_turns = (document for turn in zip_longest(*parts) for document in turn if document is not None)
    for document in islice((d for d in in_turns if d.post.content_hash not in taken), wanted):
        taken.add(document.post.content_hash)
        yield {
            "id": document.id,
            "title": document.post.title,
            "text": document.post.text,
            "labels": {h: x for h, x in document.labels.items() if x in heads.get(h, ())},
            "source": REHEARSAL,
        }


def _usable(
    store: PostStore, heads: Mapping[str, Sequence[str]], start: datetime, end: datetime
) -> Iterator[PostDocument]:
    for document in store.documents(start, end):
        known = any(x in heads.get(h, ()) for h, x in document.labels.items())
        if known and not document.repost and not document.corrected:
            yield document


def alerts_per_key_week(
    store: PostStore, challenger: Classifier, alerts: AlertSettings, subjects: SubjectMatcher = NO_SUBJECTS
) -> tuple[float, float] | None:
    """Episodes per key-week over the last days, by the labels in the index and by the challenger's labels.

    None where the index holds less than a day. It scores the newest `BACKTEST_POSTS` posts at most.
    """
    bounds = store.bounds()
    if bounds is None or bounds[1] - bounds[0] < timedelta(days=1):
        return None
    rule = alerts.counting
    end = bounds[1] + timedelta(seconds=1)
    start = max(bounds[0], end - timedelta(days=BACKTEST_DAYS))
    documents = [d for d in store.documents(start, end) if not d.repost][-BACKTEST_POSTS:]
    new: list[PostDocument] = []
    for at in range(0, len(documents), 512):
        some = documents[at : at + 512]
        predictions = predictions_of(some, challenger, subjects)
        new += [relabelled(d, p, rule) for d, p in zip(some, predictions, strict=True)]
    return _rate(documents, rule, alerts), _rate(new, rule, alerts)


def _rate(documents: Sequence[PostDocument], rule: NegativeDefinition, alerts: AlertSettings) -> float:
    history = count_history_of(documents, rule)
    scores = negative_scores(history, DetectorConfig(min_negatives=alerts.min_negatives, min_lift=alerts.min_lift))
    found = episodes(history, scores, [alerts.fire] * len(history.keys), Policy(alerts.fire, alerts.critical))
    return len(found) / history.key_weeks


def count_history_of(documents: Iterable[PostDocument], rule: NegativeDefinition) -> CountHistory:
    """Counts per topic and subject in buckets of 5 minutes, equal to the store's counts of these documents."""
    cells: dict[str, Counter[int]] = {}
    negatives: dict[str, Counter[int]] = {}
    for d in documents:
        bucket = int(d.post.event_time.timestamp()) // BUCKET_S
        for scope in (Scope(d.topic), *(Scope("", s) for s in d.scored.subjects)):
            key = key_name(scope)
            cells.setdefault(key, Counter())[bucket] += 1
            negatives.setdefault(key, Counter())[bucket] += d.is_negative(scope, rule)
    keys = tuple(sorted(cells))
    first = min((min(c) for c in cells.values()), default=0)
    last = max((max(c) for c in cells.values()), default=0)
    posts, bad_posts = np.zeros((2, len(keys), last - first + 1), np.int64)
    for k, key in enumerate(keys):
        for bucket, n in cells[key].items():
            posts[k, bucket - first] = n
            bad_posts[k, bucket - first] = negatives[key][bucket]
    return CountHistory(keys, datetime.fromtimestamp(first * BUCKET_S, UTC), BUCKET_S, posts, bad_posts)
