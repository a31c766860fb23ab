"""Records -> labelled posts and poisons: decode, find subjects, classify what the cache does not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from models.cache import LruCache
from models.drift import Profile, Watch
from models.engine import OutOfMemoryError
from models.labels import Prediction
from models.runtimes import EngineError
from pipeline.codec import decode
from pipeline.errors import Fatal, Poison
from pipeline.metrics import Metrics
from pipeline.posts import Post, Record, ScoredPost
from pipeline.store.base import CountRule
from pipeline.subjects import SubjectMatcher


class Classifier(Protocol):
    """What the flow needs of an engine: `models.OnnxEngine`, or a dummy in tests and benchmarks."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def tokens(self) -> int:
        """Tokens inferred so far, padding left out; may start anew with another model."""
        ...

    @property
    def padded_tokens(self) -> int: ...

    @property
    def reference(self) -> Profile | None:
        """What the model saw and said when it was made; None where its bundle does not say."""
        ...

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Share of the tokens that the model's vocabulary does not know, in [0, 1]."""
        ...

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """One prediction per text, in order; raises `EngineError` where the answer is no number."""
        ...


@dataclass(frozen=True, slots=True)
class Labelled:
    """A batch after the classifier: each record with its post or its poison, in the order given."""

    results: tuple[tuple[Record, ScoredPost | Poison], ...]


class Labeller:
    """Blocking and not thread-safe: the flow calls it from one thread."""

    def __init__(
        self,
        classifier: Classifier,
        subjects: SubjectMatcher,
        rule: CountRule,
        metrics: Metrics,
        cache_bytes: int,
    ) -> None:
        self.classifier = classifier
        self._subjects = subjects
        self._rule = rule
        self._metrics = metrics
        self._cache: LruCache[str, Prediction] = LruCache(cache_bytes, Prediction.size_bytes)
        self._drift: tuple[str, Watch] | None = None
        metrics.serves(classifier.name, classifier.version)

    def label(self, records: Sequence[Record]) -> Labelled:
        """Never raises for a bad post: that is a `Poison` in the result."""
        decoded = [_decoded(record) for record in records]
        posts = [d for d in decoded if isinstance(d, Post)]
        predictions = self._predictions(posts)
        results: list[tuple[Record, ScoredPost | Poison]] = []
        for record, post in zip(records, decoded, strict=True):
            if isinstance(post, Poison):
                results.append((record, post))
                continue
            prediction = predictions[post.content_hash]
            results.append((record, prediction if isinstance(prediction, Poison) else self._scored(post, prediction)))
        return Labelled(tuple(results))

    def _predictions(self, posts: Sequence[Post]) -> dict[str, Prediction | Poison]:
        self._metrics.cache_bytes.set(self._cache.weight)
        known: dict[str, Prediction | Poison] = {}
        texts: dict[str, str] = {}
        for post in posts:
            if post.content_hash in known or post.content_hash in texts:
                continue
            cached = self._cache.get(post.content_hash)
            if cached is None or cached.model_version != self.classifier.version:
                texts[post.content_hash] = post.full_text
            else:
                known[post.content_hash] = cached
        self._metrics.cache.labels("hit").inc(len(posts) - len(texts))
        self._metrics.cache.labels("miss").inc(len(texts))
        tokens, padded = self.classifier.tokens, self.classifier.padded_tokens
        fresh = self._predict(list(texts.values()))
        for key, prediction in zip(texts, fresh, strict=True):
            known[key] = prediction
            if isinstance(prediction, Prediction):
                self._cache.put(key, prediction)
        self._watch_drift([p for p in fresh if isinstance(p, Prediction)])
        done = max(0, self.classifier.tokens - tokens)
        self._metrics.tokens.inc(done)
        self._metrics.padding.inc(max(0, self.classifier.padded_tokens - padded - done))
        return known

    def _watch_drift(self, predictions: Sequence[Prediction]) -> None:
        reference = self.classifier.reference
        if reference is None:
            return
        if self._drift is None or self._drift[0] != self.classifier.version:
            tell = self._metrics.drift
            watch = Watch(reference.classes, lambda head, value: tell.labels(head).set(value))
            self._drift = (self.classifier.version, watch)
        self._drift[1].add(predictions)

    def _predict(self, texts: list[str]) -> list[Prediction | Poison]:
        """Halves a failing batch down to the text at fault."""
        if not texts:
            return []
        try:
            return list(self.classifier.predict(texts))
        except OutOfMemoryError as error:
            if len(texts) == 1:
                raise Fatal(f"the model: {error}", "give it more memory, or start the worker again") from None
        except EngineError as error:
            if len(texts) == 1:
                return [Poison("classify", "unscorable", str(error))]
        half = len(texts) // 2
        return self._predict(texts[:half]) + self._predict(texts[half:])

    def _scored(self, post: Post, prediction: Prediction) -> ScoredPost:
        heads = prediction.heads
        if self._rule.head not in heads:
            raise Fatal(f"alerts.head {self._rule.head!r} is no head of the model ({', '.join(heads)})", "set it")
        probabilities = prediction.probabilities(self._rule.head)
        return ScoredPost(
            post=post,
            labels={h: prediction.label(h) for h in heads},
            scores={h: prediction.score(h) for h in heads},
            negative_score=min(1.0, sum(probabilities.get(label, 0.0) for label in self._rule.negative)),
            subjects=self._subjects.find(post.full_text),
            model_name=prediction.model_name,
            model_version=prediction.model_version,
        )


def _decoded(record: Record) -> Post | Poison:
    try:
        return decode(record)
    except Poison as poison:
        return poison
