"""Records -> labelled posts and poisons: decodes, finds subjects, and classifies what the cache does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from models.cache import LruCache
from models.drift import Profile, Watch
from models.engine import Encoded
from models.heads import Prediction
from models.inference import OutOfMemoryError
from models.mentions import Mentions
from models.prevalence import ScoreGroup
from models.runtimes import EngineError
from pipeline.classify.codec import decode
from pipeline.classify.isolation import Bug, isolate_bugs, poison_of
from pipeline.classify.named_post import NamedPost, named
from pipeline.classify.scoring import scored
from pipeline.classify.subjects import SubjectMatcher
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import Fatal, PipelineError, Poison
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import Post, Record, ScoredPost
from pipeline.domain.states import ServedModel

T = TypeVar("T")


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

    def encode(self, texts: Sequence[str], mentions: Sequence[Mentions] | None = None) -> Encoded:
        """The first half of `predict`; it may run at the same time as `infer`."""
        ...

    def infer(self, encoded: Encoded) -> list[Prediction]:
        """The second half of `predict`; raises `EngineError` when a score is not a number."""
        ...

    def predict(self, texts: Sequence[str], mentions: Sequence[Mentions] | None = None) -> list[Prediction]:
        """Returns one prediction per text, in order; raises what `infer` raises.

        A model with the head `toward` judges the subjects of `mentions[i]` in `texts[i]`.
        """
        ...


def served_model(classifier: Classifier) -> ServedModel:
    """The state that says which model classifies, and how far its scores are from the truth."""
    groups = {head: tuple(groups) for head, groups in classifier.prevalence.items()}
    return ServedModel(classifier.name, classifier.version, groups)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch before inference: `encoded.texts[i]`, of the posts with the key `keys[i]`, is not in the cache.

    `poisons` maps the key of each text that triggered a bug in the tokeniser to its poison.
    """

    named: list[tuple[Record, NamedPost | Poison]]
    keys: list[str]
    encoded: Encoded
    poisons: dict[str, Poison]


@dataclass(frozen=True, slots=True)
class Predicted:
    """A classified batch: `predictions` by the key of their posts."""

    named: list[tuple[Record, NamedPost | Poison]]
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
        """Decodes the records, finds the subjects and tokenises the texts that the cache does not know."""
        decoded = isolate_bugs(records, lambda part: [decode_or_poison(record) for record in part])
        posts: list[Post | Poison] = _with_poisons(records, decoded, "decode")
        found = isolate_bugs(posts, lambda part: [self._named(post) for post in part])
        with_subjects: list[NamedPost | Poison] = _with_poisons(records, found, "subjects")
        items = list(zip(records, with_subjects, strict=True))
        wanted: dict[str, NamedPost] = {}
        for _, item in items:
            if isinstance(item, Poison):
                continue
            for field in item.post.ignored:
                self._metrics.ignored.labels(field).inc()
            if item.key not in wanted and self._cached(item.key) is None:
                wanted[item.key] = item
        return Prepared(items, *self._encode(wanted))

    def infer(self, prepared: Prepared) -> Predicted:
        """Classifies the texts, except those that another batch has brought into the cache in the meantime."""
        posts = [item for _, item in prepared.named if isinstance(item, NamedPost)]
        keys = {post.key for post in posts}
        known: dict[str, Prediction | Poison] = {key: p for key in keys if (p := self._cached(key)) is not None}
        known |= prepared.poisons
        wanted = [i for i, key in enumerate(prepared.keys) if key not in known]
        encoded = prepared.encoded.only(wanted)
        fresh = dict(zip((prepared.keys[i] for i in wanted), self._classify(encoded), strict=True))
        if missing := keys - known.keys() - fresh.keys():
            # Cached when the batch was prepared, but since evicted, or labelled by the model before a swap.
            encodable, again, poisons = self._encode({post.key: post for post in posts if post.key in missing})
            fresh |= zip(encodable, self._classify(again), strict=True)
            fresh |= poisons
        for key, prediction in fresh.items():
            if isinstance(prediction, Prediction):
                self._cache.put(key, prediction)
        self._metrics.cache.labels("hit").inc(len(posts) - len(fresh))
        self._metrics.cache.labels("miss").inc(len(fresh))
        self._metrics.cache_bytes.set(self._cache.weight)
        self._watch_drift([p for p in fresh.values() if isinstance(p, Prediction)])
        return Predicted(prepared.named, known | fresh)

    def finish(self, predicted: Predicted) -> list[tuple[Record, ScoredPost | Poison]]:
        """Returns each record with its scored post or its poison, in the order given."""
        records = [record for record, _ in predicted.named]
        results = isolate_bugs(
            predicted.named, lambda part: [self._result(item, predicted.predictions) for _, item in part]
        )
        return list(zip(records, _with_poisons(records, results, "classify"), strict=True))

    def _named(self, post: Post | Poison) -> NamedPost | Poison:
        """Finds the subjects in a post; a poison stays what it is."""
        return named(post, self._subjects.find(post.full_text)) if isinstance(post, Post) else post

    def _result(self, item: NamedPost | Poison, predictions: Mapping[str, Prediction | Poison]) -> ScoredPost | Poison:
        if isinstance(item, Poison):
            return item
        prediction = predictions[item.key]
        return prediction if isinstance(prediction, Poison) else scored(item, prediction, self._counting)

    def _encode(self, posts: Mapping[str, NamedPost]) -> tuple[list[str], Encoded, dict[str, Poison]]:
        """Returns the keys of the posts whose texts can be tokenised, their tokens, and the others' poisons."""
        keys = list(posts)
        try:
            return keys, self._encoded(posts, keys), {}
        except (PipelineError, MemoryError):
            raise
        except Exception:
            tried = isolate_bugs(keys, lambda part: self._encoded(posts, part).texts)
        poisons = {
            key: poison_of(e, "classify", f"text:{key}")
            for key, e in zip(keys, tried, strict=True)
            if isinstance(e, Bug)
        }
        good = [key for key in keys if key not in poisons]
        return good, self._encoded(posts, good), poisons

    def _encoded(self, posts: Mapping[str, NamedPost], keys: Sequence[str]) -> Encoded:
        chosen = [posts[key] for key in keys]
        return self.classifier.encode([item.post.full_text for item in chosen], [item.mentions for item in chosen])

    def _cached(self, key: str) -> Prediction | None:
        cached = self._cache.get(key)
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


def _with_poisons(records: Sequence[Record], items: Sequence[T | Poison | Bug], stage: str) -> list[T | Poison]:
    """The items of the records, with a poison of `stage` in place of each bug."""
    return [
        poison_of(item, stage, str(record.origin)) if isinstance(item, Bug) else item
        for record, item in zip(records, items, strict=True)
    ]


def decode_or_poison(record: Record) -> Post | Poison:
    """Decodes a record, or returns the poison without its traceback."""
    try:
        return decode(record)
    except Poison as poison:
        # The traceback holds the frames, and those the records, until the garbage collector runs.
        poison.__context__ = None
        return poison.with_traceback(None)
