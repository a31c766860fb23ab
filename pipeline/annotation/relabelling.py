"""Changes the labels of indexed posts: by another model, by a person, or back to the model's. Blocking."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from models.heads import Prediction
from pipeline.classify.scoring import toward_each
from pipeline.classify.stage import Classifier
from pipeline.classify.subjects import SubjectMatcher
from pipeline.domain.annotation import Annotation
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.document_version import DocumentVersion
from pipeline.domain.post import Toward, toward_whole_text
from pipeline.domain.post_document import PostDocument, rounded, rounded_toward
from pipeline.domain.states import RELABELLED, RELABELLING, Relabelled, RelabellingRun
from pipeline.store.protocol import AnnotatedPostStore, CountingStore, PostStore, StateStore

_BATCH = 512
NO_SUBJECTS = SubjectMatcher({})
_NOTHING: Mapping[str, str] = MappingProxyType({})


def relabel_posts(
    store: PostStore,
    classifier: Classifier,
    rule: NegativeDefinition,
    start: datetime,
    end: datetime,
    version: int,
    subjects: SubjectMatcher,
) -> Iterator[tuple[int, int]]:
    """Labels the posts in the range again; yields (posts read, posts written) per batch. Corrected posts stay."""
    documents = iter(store.documents(start, end))
    while batch := list(islice(documents, _BATCH)):
        old = [d for d in batch if not d.corrected]
        predictions = predictions_of(old, classifier, subjects)
        new = [relabelled(d, p, rule) for d, p in zip(old, predictions, strict=True)]
        yield len(batch), store.replace(new, version)


def relabel_last(
    store: CountingStore,
    classifier: Classifier,
    rule: NegativeDefinition,
    days: float,
    report: Callable[[int], None] = lambda _: None,
    *,
    subjects: SubjectMatcher = NO_SUBJECTS,
) -> tuple[int, int]:
    """Labels the last `days` (0: all) of event time again; returns (posts read, posts written).

    The last run wins, so that a run after a rollback restores the older model's labels. After a kill, the next run with
    the same model continues under the same version. The alert role then learns its baselines again, so that a new model
    does not look like a spike. `report` takes the number of posts of each batch. `subjects` finds the mentions of the
    subjects that a post names; toward one that it does not find, the whole text counts.
    """
    bounds = store.bounds()
    if bounds is None:
        return 0, 0
    end = bounds[1] + timedelta(seconds=1)
    start = end - timedelta(days=days) if days > 0 else datetime.min.replace(tzinfo=UTC)
    run = _begun(store, f"{classifier.name} {classifier.version}")
    read = written = 0
    for done, new in relabel_posts(store, classifier, rule, start, end, run.version, subjects):
        read, written = read + done, written + new
        report(done)
    store.put_state(RELABELLING, replace(run, done=True))
    store.put_state(RELABELLED, Relabelled(datetime.now(UTC), run.model, written))
    return read, written


def _begun(store: StateStore, model: str) -> RelabellingRun:
    """The run that another process began with this model and did not finish, or a new one."""
    last = store.state(RELABELLING) or RelabellingRun(version=DocumentVersion.RELABELLED - 1)
    if not last.done and last.model == model:
        return last
    run = RelabellingRun(last.version + 1, model, done=False)
    store.put_state(RELABELLING, run)
    return run


def predictions_of(
    documents: Sequence[PostDocument], classifier: Classifier, subjects: SubjectMatcher
) -> list[Prediction]:
    """What the model says about each document and about the subjects that the document names."""
    texts = [document.post.full_text for document in documents]
    mentions = [
        {subject: spans for subject, spans in subjects.find(text).items() if subject in document.scored.subjects}
        for document, text in zip(documents, texts, strict=True)
    ]
    return classifier.predict(texts, mentions)


def relabelled(document: PostDocument, prediction: Prediction, rule: NegativeDefinition) -> PostDocument:
    """The document as the model of `prediction` labels it."""
    heads = prediction.heads
    scored = document.scored._replace(
        labels={head: prediction.label(head) for head in heads},
        scores=rounded({head: prediction.score(head) for head in heads}),
        negative_score=round(rule.score(prediction.meant(rule.head)), 4),
        model_name=prediction.model_name,
        model_version=prediction.model_version,
        toward=rounded_toward(toward_each(prediction, document.scored.subjects, rule)),
    )
    return replace(document, scored=scored)


class Correction(NamedTuple):
    """What people said about a post: the class of each head, and the class toward each subject."""

    labels: Mapping[str, str]
    toward: Mapping[str, str]

    @classmethod
    def of(cls, annotations: Iterable[Annotation]) -> Correction:
        """The last annotation of each head and of each subject."""
        labels: dict[str, str] = {}
        toward: dict[str, str] = {}
        for annotation in annotations:
            if annotation.subject:
                toward[annotation.subject] = annotation.label
            else:
                labels[annotation.head] = annotation.label
        return cls(labels, toward)


def corrected(
    document: PostDocument, labels: Mapping[str, str], rule: NegativeDefinition, toward: Mapping[str, str] = _NOTHING
) -> PostDocument:
    """The document with people's labels, which are certain, in place of the model's, and marked as corrected.

    A subject that no model judged by itself follows the whole text. What people say `toward` a subject that the post
    does not name changes nothing in the document.
    """
    negative_score = document.scored.negative_score
    if rule.head in labels:
        negative_score = float(labels[rule.head] in rule.negative)
    all_labels = {**document.labels, **labels}
    scores = {**document.scores, **dict.fromkeys(labels, 1.0)}
    whole = toward_whole_text(all_labels, scores, negative_score)
    judged = {subject: t for subject, t in document.scored.toward.items() if not t.whole_text}
    said = {subject: Toward(label, 1.0, rule.score_of(label)) for subject, label in toward.items()}
    scored = document.scored._replace(
        labels=all_labels,
        scores=scores,
        negative_score=negative_score,
        toward={subject: {**judged, **said}.get(subject, whole) for subject in document.scored.subjects},
    )
    return replace(document, scored=scored, corrected=True)


def correct_posts(
    store: AnnotatedPostStore, annotations: Sequence[Annotation], rule: NegativeDefinition, now: datetime
) -> int:
    """Gives these posts the newest annotation of each head and toward each subject; returns how many posts changed.

    All annotations of these posts in the store count, so that the order of imports does not matter.
    """
    posts, version = {annotation.post for annotation in annotations}, _version(now)
    store.refresh()
    written = 0
    for key, mine in _by_post([annotation for annotation in store.annotations() if annotation.post in posts]).items():
        document = store.post(key)
        if document is not None:
            said = Correction.of(mine)
            made = corrected(document, said.labels, rule, said.toward)
            written += store.replace([made], version) if made != document else 0
    return written


def retract(
    store: AnnotatedPostStore,
    classifier: Classifier,
    annotations: Sequence[Annotation],
    rule: NegativeDefinition,
    now: datetime,
    *,
    subjects: SubjectMatcher = NO_SUBJECTS,
) -> tuple[int, int]:
    """Removes annotations from the store, after correcting their posts; returns (annotations dropped, posts written).

    Each post gets the labels of the model and of the remaining annotations. Later relabelling runs skip a post without
    any annotation left, since its version stays above theirs.
    """
    gone, written, version = {annotation.id for annotation in annotations}, 0, _version(now)
    store.refresh()
    by_post = _by_post([*annotations, *(annotation for annotation in store.annotations() if annotation.id not in gone)])
    keys = iter({annotation.post: None for annotation in annotations})
    while batch := list(islice(keys, _BATCH)):
        documents = [d for d in map(store.post, batch) if d is not None]
        predictions = predictions_of(documents, classifier, subjects)
        for document, prediction in zip(documents, predictions, strict=True):
            mine = by_post[document.id]
            said = Correction.of(annotation for annotation in mine if annotation.id not in gone)
            made = replace(relabelled(document, prediction, rule), corrected=False)
            made = corrected(made, said.labels, rule, said.toward) if any(said) else made
            written += store.replace([made], version) if made != document else 0
    return store.drop_annotations(annotations), written


def _by_post(annotations: Sequence[Annotation]) -> dict[str, list[Annotation]]:
    """The annotations of each post, oldest first."""
    found: dict[str, list[Annotation]] = defaultdict(list)
    for annotation in sorted(annotations, key=lambda annotation: annotation.at):
        found[annotation.post].append(annotation)
    return found


def _version(now: datetime) -> int:
    """The version of corrections at `now`, above all earlier versions, since corrections consider every annotation."""
    return DocumentVersion.CORRECTED + round(now.timestamp() * 1000)
