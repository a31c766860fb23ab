"""Records -> labelled posts and poisons: decode, find subjects, classify what the cache does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from models.cache import LruCache
from models.drift import Profile, Watch
from models.engine import Encoded, OutOfMemoryError
from models.heads import Prediction
from models.runtimes import EngineError
from pipeline.classify.codec import decode
from pipeline.classify.fence import Bug, buried, isolated
from pipeline.classify.subjects import SubjectMatcher
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import Fatal, PipelineError, Poison
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import Post, Record, ScoredPost


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

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The first half of `predict`; may run beside `infer`."""
        ...

    def infer(self, encoded: Encoded) -> list[Prediction]:
        """The second half; raises `EngineError` where the answer is no number."""
        ...

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """One prediction per text, in order; raises as `infer`."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch on its way to the classifier: `encoded.texts[i]`, of content `hashes[i]`, was not known yet.

    `poisons` are those of the texts, by content hash, that met a bug on their way.
    """

    decoded: list[tuple[Record, Post | Poison]]
    hashes: list[str]
    encoded: Encoded
    poisons: dict[str, Poison]


@dataclass(frozen=True, slots=True)
class Predicted:
    """A batch that is classified: `predictions` by content hash."""

    decoded: list[tuple[Record, Post | Poison]]
    predictions: dict[str, Prediction | Poison]


class ClassifyStage:
    """`prepare`, `infer`, `finish` a batch: blocking, each from one thread at a time, the three beside each other."""

    def __init__(
        self,
        classifier: Classifier,
        subjects: SubjectMatcher,
        rule: NegativeDefinition,
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

    def prepare(self, records: Sequence[Record]) -> Prepared:
        """Decodes, and tokenises what no cache knows."""
        posts = isolated(records, lambda part: [_decoded(record) for record in part])
        decoded: list[tuple[Record, Post | Poison]] = [
            (record, buried("decode", f"record {record.origin}", post) if isinstance(post, Bug) else post)
            for record, post in zip(records, posts, strict=True)
        ]
        texts: dict[str, str] = {}
        for _, post in decoded:
            if not isinstance(post, Post):
                continue
            for field in post.ignored:
                self._metrics.ignored.labels(field).inc()
            if post.content_hash not in texts and self._known(post.content_hash) is None:
                texts[post.content_hash] = post.full_text
        return Prepared(decoded, *self._encoded(texts))

    def infer(self, prepared: Prepared) -> Predicted:
        """Classifies; a text that another batch brought meanwhile is not classified twice."""
        hashes = {post.content_hash for _, post in prepared.decoded if isinstance(post, Post)}
        known: dict[str, Prediction | Poison] = {h: p for h in hashes if (p := self._known(h)) is not None}
        known |= prepared.poisons
        wanted = [i for i, h in enumerate(prepared.hashes) if h not in known]
        encoded = prepared.encoded.only(wanted)
        fresh = dict(zip((prepared.hashes[i] for i in wanted), self._classified(encoded), strict=True))
        if missing := hashes - known.keys() - fresh.keys():
            # Known when the batch was prepared, and forgotten since: dropped by the cache, or of a model before.
            texts = {p.content_hash: p.full_text for _, p in prepared.decoded if isinstance(p, Post)}
            found, again, poisons = self._encoded({h: texts[h] for h in missing})
            fresh |= zip(found, self._classified(again), strict=True)
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
        """Each record with its post or its poison, in the order given."""
        found = isolated(
            predicted.decoded, lambda part: [self._result(post, predicted.predictions) for _, post in part]
        )
        return [
            (record, buried("subjects", f"record {record.origin}", item) if isinstance(item, Bug) else item)
            for (record, _), item in zip(predicted.decoded, found, strict=True)
        ]

    def _result(self, post: Post | Poison, predictions: Mapping[str, Prediction | Poison]) -> ScoredPost | Poison:
        if isinstance(post, Poison):
            return post
        prediction = predictions[post.content_hash]
        return prediction if isinstance(prediction, Poison) else self._scored(post, prediction)

    def _encoded(self, texts: Mapping[str, str]) -> tuple[list[str], Encoded, dict[str, Poison]]:
        """The content hashes of the texts that can be tokenised, those texts, and the poisons of the others."""
        hashes = list(texts)
        try:
            return hashes, self.classifier.encode(list(texts.values())), {}
        except (PipelineError, MemoryError):
            raise
        except Exception:
            tried = isolated(hashes, lambda part: self.classifier.encode([texts[h] for h in part]).texts)
        poisons = {
            h: buried("classify", f"text {h}", e) for h, e in zip(hashes, tried, strict=True) if isinstance(e, Bug)
        }
        good = [h for h in hashes if h not in poisons]
        return good, self.classifier.encode([texts[h] for h in good]), poisons

    def _known(self, content_hash: str) -> Prediction | None:
        cached = self._cache.get(content_hash)
        return cached if cached is not None and cached.model_version == self.classifier.version else None

    def _classified(self, encoded: Encoded) -> list[Prediction | Poison]:
        tokens, padded = self.classifier.tokens, self.classifier.padded_tokens
        found = self._infer(encoded)
        done = max(0, self.classifier.tokens - tokens)
        self._metrics.tokens.inc(done)
        self._metrics.padding.inc(max(0, self.classifier.padded_tokens - padded - done))
        return found

    def _watch_drift(self, predictions: Sequence[Prediction]) -> None:
        reference = self.classifier.reference
        if reference is None:
            return
        if self._drift is None or self._drift[0] != self.classifier.version:
            tell = self._metrics.drift
            watch = Watch(reference.classes, lambda head, value: tell.labels(head).set(value))
            self._drift = (self.classifier.version, watch)
        self._drift[1].add(predictions)

    def _infer(self, encoded: Encoded) -> list[Prediction | Poison]:
        """Halves a failing batch down to the text at fault."""
        found = isolated(range(len(encoded.texts)), lambda part: self._inferred(encoded.only(part)))
        return [buried("classify", "a text", f) if isinstance(f, Bug) else f for f in found]

    def _inferred(self, encoded: Encoded) -> Sequence[Prediction | Poison]:
        try:
            return self.classifier.infer(encoded)
        except OutOfMemoryError as error:
            if len(encoded.texts) == 1:
                raise Fatal(f"the model: {error}", "give it more memory, or start the worker again") from None
            raise
        except EngineError as error:
            if len(encoded.texts) == 1:
                return [Poison("classify", "unscorable", str(error))]
            raise

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
        # Its traceback holds the frames, and they the records, for as long as the garbage collector takes its time.
        poison.__context__ = None
        return poison.with_traceback(None)
