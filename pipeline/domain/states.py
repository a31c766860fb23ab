"""The documents that processes share through the store's states: their keys, and what stands under each.

The store keeps each state as a JSON object under the name of its key. The names and the JSON are part of the contract
with earlier and later releases; every `from_json` ignores the fields that it does not know.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Generic, Protocol, Self, TypeVar

from models.json_reader import JsonReader
from models.json_types import JsonObject
from models.prevalence import ScoreGroup
from pipeline.domain.errors import Fatal

log = logging.getLogger(__name__)


class State(Protocol):
    """What a state document is decoded to."""

    def to_json(self) -> JsonObject:
        """The JSON object that the store keeps."""
        ...

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Reads what this release or an earlier one wrote; raises `ValueError`, `KeyError` or `TypeError`."""
        ...


T = TypeVar("T")
S = TypeVar("S", bound=State)


@dataclass(frozen=True, slots=True)
class StateKey(Generic[T]):
    """Where a state is kept and how it is read and written.

    An `expendable` state that cannot be read counts as missing: its owner makes it again.
    """

    name: str
    decode: Callable[[JsonObject], T] = field(compare=False)
    encode: Callable[[T], JsonObject] = field(compare=False)
    expendable: bool = field(default=False, compare=False)

    def read(self, value: JsonObject | None) -> T | None:
        """The state that the store keeps as `value`; raises `Fatal` if another release's cannot be read."""
        if value is None:
            return None
        try:
            return self.decode(value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if not self.expendable:
                raise Fatal(
                    f"state {self.name} in the store cannot be read: {type(error).__name__}: {error}",
                    "run the release of opinionwatch that wrote it, or delete that document from the store",
                ) from None
            log.warning("state %s in the store cannot be read and is ignored: %s", self.name, type(error).__name__)
            return None


def _key(name: str, kind: type[S], *, expendable: bool = False) -> StateKey[S]:
    return StateKey(name, kind.from_json, kind.to_json, expendable)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The model that classifies posts, and per head the score groups of its bundle."""

    name: str
    version: str = ""
    prevalence: Mapping[str, tuple[ScoreGroup, ...]] = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        """Groups are left out where there are none."""
        groups = {head: [group.to_json() for group in groups] for head, groups in self.prevalence.items()}
        return {"name": self.name, "version": self.version, **({"prevalence": groups} if groups else {})}

    @classmethod
    def from_json(cls, value: JsonObject) -> ServedModel:
        fields = JsonReader(value)
        prevalence = fields.object("prevalence")
        groups = JsonReader(prevalence)
        by_head = {head: tuple(map(ScoreGroup.from_json, groups.objects(head))) for head in prevalence}
        return cls(fields.text("name"), fields.text("version", ""), by_head)


@dataclass(frozen=True, slots=True)
class RelabellingRun:
    """The last relabelling of indexed posts; until it is `done`, the same model continues it under its `version`."""

    version: int
    model: str = ""
    done: bool = True

    def to_json(self) -> JsonObject:
        return asdict(self)

    @classmethod
    def from_json(cls, value: JsonObject) -> RelabellingRun:
        fields = JsonReader(value)
        return cls(fields.whole("version"), fields.text("model", ""), fields.flag("done", default=True))


@dataclass(frozen=True, slots=True)
class Relabelled:
    """When a model last relabelled indexed posts: baselines that were learned before belong to another model."""

    at: datetime
    model: str
    posts: int

    def to_json(self) -> JsonObject:
        return {"at": self.at.isoformat(), "model": self.model, "posts": self.posts}

    @classmethod
    def from_json(cls, value: JsonObject) -> Relabelled:
        fields = JsonReader(value)
        return cls(fields.time("at"), fields.text("model"), fields.whole("posts"))


@dataclass(frozen=True, slots=True)
class LastTraining:
    """How many annotations the last training had, when it began, and whether its model was promoted."""

    labels: int = 0
    at: datetime | None = None
    outcome: str = ""

    def to_json(self) -> JsonObject:
        at = {"at": self.at.isoformat()} if self.at else {}
        return {"labels": self.labels, **at, "outcome": self.outcome}

    @classmethod
    def from_json(cls, value: JsonObject) -> LastTraining:
        fields = JsonReader(value)
        return cls(fields.whole("labels", 0), fields.time_or_none("at"), fields.text("outcome", ""))


@dataclass(frozen=True, slots=True)
class InvalidationToken:
    """Changes whenever a post of a closed day is written; cached counts are valid for the token they were read under.

    An empty `mark` stands for a day that nobody has written to since it was closed.
    """

    mark: str = ""

    def to_json(self) -> JsonObject:
        return {"mark": self.mark}

    @classmethod
    def from_json(cls, value: JsonObject) -> InvalidationToken:
        return cls(JsonReader(value).text("mark"))


@dataclass(frozen=True, slots=True)
class CachedCounts:
    """The counts of a closed day, packed into `body`, under the token and the negative definition they hold for."""

    mark: str
    rule: str
    cells: int
    body: str

    def to_json(self) -> JsonObject:
        return asdict(self)

    @classmethod
    def from_json(cls, value: JsonObject) -> CachedCounts:
        fields = JsonReader(value)
        return cls(fields.text("mark"), fields.text("rule", ""), fields.whole("cells"), fields.text("body"))


SERVED_MODEL = _key("model", ServedModel)
RELABELLING = _key("relabelling", RelabellingRun)
RELABELLED = _key("relabelled", Relabelled)
LAST_TRAINING = _key("retrain", LastTraining)


def invalidation_key(day: date) -> StateKey[InvalidationToken]:
    """The key of the token of a day (UTC)."""
    return _key(f"changed-{day.isoformat()}", InvalidationToken, expendable=True)


def counts_key(day: date) -> StateKey[CachedCounts]:
    """The key of the cached counts of a day (UTC)."""
    return _key(f"counts-{day.isoformat()}", CachedCounts, expendable=True)
