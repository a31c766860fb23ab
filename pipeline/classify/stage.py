"""Records -> labelled posts and poisons: decodes, classifies what the cache does not know, and finds subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from models.cache import LruCache
from models.drift import Profile, Watch
from models.engine import Encoded
from models.heads import Prediction
from models.inference import OutOfMemoryError
from models.prevalence import ScoreGroup
from models.runtimes import EngineError
from pipeline.classify.codec import decode
from pipeline.classify.isolation import Bug, isolate_bugs, poison_of
from pipeline.classify.subjects import SubjectMatcher
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import Fatal, PipelineError, Poison
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import Post, Record, ScoredPost, toward_whole_text
from pipeline.domain.states import ServedModel


class Classifier(Protocol):
    """What the stage needs of an engine: `models.OnnxEngine`, or a dummy in tests and benchmarks."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def tokens(self) -> int:
        """Tokens inferred so far, without padding; the count may restart at 0 when the model is replaced."""
        ...

    @property
    def padded_tokens(self) -> int: ...

    @property
    def reference(self) -> Profile | None:
        """The profile of the model's training data and answers; None if the bundle has none."""
        ...

    @property
    def prevalence(self) -> Mapping[str, Sequence[ScoreGroup]]:
        """The score groups per head, from which the alert rule estimates shares; empty if the bundle has none."""
        ...

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Share of the tokens that are not in the model's vocabulary, in [0, 1]."""
        ...

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The first half of `predict`; it may run at the same time as `infer`."""
        ...

    def infer(self, encoded: Encoded) -> list[Prediction]:
        """The second half of `predict`; raises `EngineError` when a score is not a number."""
        ...

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Returns one prediction per text, in order; raises what `infer` raises."""
        ...


def served_model(classifier: Classifier) -> ServedModel:
    """The state that says which model classifies, and how far its scores are from the truth."""
    groups = {head: tuple(groups) for head, groups in classifier.prevalence.items()}
    return ServedModel(classifier.name, classifier.version, groups)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch before inference: `encoded.texts[i]`, with the content hash `hashes[i]`, is not in the cache.

    `poisons` maps the content hash of each text that triggered a bug in the tokeniser to its poison.
    """

    decoded: list[tuple[Record, Post | Poison]]
    hashes: list[str]
    encoded: Encoded
    poisons: dict[str, Poison]


@dataclass(frozen=True, slots=True)
class Predicted:
    """A classified batch: `predictions` by content hash."""

    decoded: list[tuple[Record, Post | Poison]]
    predictions: dict[str, Prediction | Poison]


class ClassifyStage:
    """Takes a batch through `prepare`, `infer` and `finish`.

    The three methods block. Each is called from one thread at a time, and the three may run at the same time.
    """

    def __init__(
        self,
        classifier: Classifier,
        subjects: SubjectMatcher,
        counting: NegativeDefinition,
        metrics: Metrics,
        cache_bytes: int,
    ) -> None:
        self.classifier = classifier
        self._subjects = subjects
        self._counting = counting
        self._metrics = metrics
        self._cache: LruCache[str, Prediction] = LruCache(cache_bytes, Prediction.size_bytes)
        self._drift: tuple[str, Watch] | None = None
        metrics.serves(classifier.name, classifier.version)

    def prepare(self, records: Sequence[Record]) -> Prepared:
        """Decodes the records and tokenises the texts that the cache does not know."""
        posts = isolate_bugs(records, lambda part: [decode_or_poison(record) for record in part])
        decoded: list[tuple[Record, Post | Poison]] = [
            (record, poison_of(post, "decode", str(record.origin)) if isinstance(post, Bug) else post)
            for record, post in zip(records, posts, strict=True)
        ]
        texts: dict[str, str] = {}
        for _, post in decoded:
            if not isinstance(post, Post):
                continue
            for field in post.ignored:
                self._metrics.ignored.labels(field).inc()
            if post.content_hash not in texts and self._cached(post.content_hash) is None:
                texts[post.content_hash] = post.full_text
        return Prepared(decoded, *self._encode(texts))

    def infer(self, prepared: Prepared) -> Predicted:
        """Classifies the texts, except those that another batch has brought into the cache in the meantime."""
        hashes = {post.content_hash for _, post in prepared.decoded if isinstance(post, Post)}
        known: dict[str, Prediction | Poison] = {h: p for h in hashes if (p := self._cached(h)) is not None}
        known |= prepared.poisons
        wanted = [i for i, h in enumerate(prepared.hashes) if h not in known]
        encoded = prepared.encoded.only(wanted)
        fresh = dict(zip((prepared.hashes[i] for i in wanted), self._classify(encoded), strict=True))
        if missing := hashes - known.keys() - fresh.keys():
            # Cached when the batch was prepared, but since evicted, or labelled by the model before a swap.
            texts = {p.content_hash: p.full_text for _, p in prepared.decoded if isinstance(p, Post)}
            encodable, again, poisons = self._encode({h: texts[h] for h in missing})
            fresh |= zip(encodable, self._classify(again), strict=True)
            fresh |= poisons
        for key, prediction in fresh.items():
            if isinstance(prediction, Prediction):
                self._cache.put(key, prediction)
        posts = sum(isinstance(post, Post) for _, post in prepared.decoded)
        self._metrics.cache.labels("hit").inc(posts - len(fresh))
        self._metrics.cache.labels("miss").inc(len(fresh))
        self._metrics.cache_bytes.set(self._cache.weight)
        self._watch_drift([p for p in fresh.values() if isinstance(p, Prediction)])
        return Predicted(prepared.decoded, known | fresh)

    def finish(self, predicted: Predicted) -> list[tuple[Record, ScoredPost | Poison]]:
        """Returns each record with its scored post or its poison, in the order given."""
        results = isolate_bugs(
            predicted.decoded, lambda part: [self._result(post, predicted.predictions) for _, post in part]
        )
        return [
            (record, poison_of(item, "subjects", str(record.origin)) if isinstance(item, Bug) else item)
            for (record, _), item in zip(predicted.decoded, results, strict=True)
        ]

    def _result(self, post: Post | Poison, predictions: Mapping[str, Prediction | Poison]) -> ScoredPost | Poison:
        if isinstance(post, Poison):
            return post
        prediction = predictions[post.content_hash]
        return prediction if isinstance(prediction, Poison) else self._score(post, prediction)

    def _encode(self, texts: Mapping[str, str]) -> tuple[list[str], Encoded, dict[str, Poison]]:
        """Returns the content hashes of the texts that can be tokenised, their tokens, and the others' poisons."""
        hashes = list(texts)
        try:
            return hashes, self.classifier.encode(list(texts.values())), {}
        except (PipelineError, MemoryError):
            raise
        except Exception:
            tried = isolate_bugs(hashes, lambda part: self.classifier.encode([texts[h] for h in part]).texts)
        poisons = {
            h: poison_of(e, "classify", f"text:{h}") for h, e in zip(hashes, tried, strict=True) if isinstance(e, Bug)
        }
        good = [h for h in hashes if h not in poisons]
        return good, self.classifier.encode([texts[h] for h in good]), poisons

    def _cached(self, content_hash: str) -> Prediction | None:
        cached = self._cache.get(content_hash)
        return cached if cached is not None and cached.model_version == self.classifier.version else None

    def _classify(self, encoded: Encoded) -> list[Prediction | Poison]:
        tokens, padded = self.classifier.tokens, self.classifier.padded_tokens
        predictions = self._infer_isolated(encoded)
        inferred = max(0, self.classifier.tokens - tokens)
        self._metrics.tokens.inc(inferred)
        self._metrics.padding.inc(max(0, self.classifier.padded_tokens - padded - inferred))
        return predictions

    def _watch_drift(self, predictions: Sequence[Prediction]) -> None:
        reference = self.classifier.reference
        if reference is None:
            return
        if self._drift is None or self._drift[0] != self.classifier.version:
            gauge = self._metrics.drift
            watch = Watch(reference.classes, lambda head, value: gauge.labels(head).set(value))
            self._drift = (self.classifier.version, watch)
        self._drift[1].add(predictions)

    def _infer_isolated(self, encoded: Encoded) -> list[Prediction | Poison]:
        """Halves a failing batch down to the text at fault."""
        results = isolate_bugs(range(len(encoded.texts)), lambda part: self._infer(encoded.only(part)))
        return [poison_of(item, "classify", "text") if isinstance(item, Bug) else item for item in results]

    def _infer(self, encoded: Encoded) -> Sequence[Prediction | Poison]:
        try:
            return self.classifier.infer(encoded)
        except OutOfMemoryError as error:
            if len(encoded.texts) == 1:
                raise Fatal(
                    f"the model ran out of memory on a single text: {error}",
                    "give the process more memory, or start the worker again",
                ) from None
            raise
        except EngineError as error:
            if len(encoded.texts) == 1:
                return [Poison("classify", "unscorable", str(error))]
            raise

    def _score(self, post: Post, prediction: Prediction) -> ScoredPost:
        heads = prediction.heads
        if self._counting.head not in heads:
            model = f"{prediction.model_name} {prediction.model_version}"
            raise Fatal(
                f"alerts.head {self._counting.head!r} is not a head of model {model} ({', '.join(heads)})",
                "set alerts.head to one of these",
            )
        probabilities = prediction.probabilities(self._counting.head)
        labels = {h: prediction.label(h) for h in heads}
        scores = {h: prediction.score(h) for h in heads}
        negative_score = self._counting.score(probabilities)
        subjects = self._subjects.find(post.full_text)
        return ScoredPost(
            post=post,
            labels=labels,
            scores=scores,
            negative_score=negative_score,
            subjects=tuple(subjects),
            model_name=prediction.model_name,
            model_version=prediction.model_version,
            toward=dict.fromkeys(subjects, toward_whole_text(labels, scores, negative_score)),
        )


def decode_or_poison(record: Record) -> Post | Poison:
    """Decodes a record, or returns the poison without its traceback."""
    try:
        return decode(record)
    except Poison as poison:
        # The traceback holds the frames, and those the records, until the garbage collector runs.
        poison.__context__ = None
        return poison.with_traceback(None)
