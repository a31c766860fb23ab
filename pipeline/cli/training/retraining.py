"""The scheduled retraining job: idempotent, locked, and safe to kill at any point."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from models.aliases import CHALLENGER, CHAMPION
from models.bundle import load_bundle, read_manifest
from models.folders import private_folder
from models.json_reader import JsonReader
from models.json_types import Json, JsonObject
from models.registry import Registry
from models.signing import public_of, sign
from pipeline.annotation.relabelling import relabel_last
from pipeline.annotation.retraining_rows import alerts_per_key_week, annotations_trained_on, write_training_rows
from pipeline.classify.subjects import matcher
from pipeline.cli.models.registry import refusing as registry_refusing
from pipeline.cli.models.registry import registry_of
from pipeline.cli.progress import posts_bar
from pipeline.cli.terminal import err
from pipeline.cli.training.extra import extra_train, refusing
from pipeline.domain.errors import Fatal
from pipeline.domain.states import LAST_TRAINING, LastTraining
from pipeline.settings import Settings
from pipeline.store.factory import open_store
from pipeline.store.protocol import Store

_BY = "retrain"


@dataclass(frozen=True, slots=True)
class Started:
    """A run that has begun: its champion, the version of its model, and how many labels and rows it has."""

    at: str
    champion: str
    version: str
    labels: int
    new_labels: int
    rows: dict[str, float]

    @classmethod
    def from_json(cls, value: JsonObject) -> Started:
        fields = JsonReader(value)
        return cls(
            at=fields.text("at"),
            champion=fields.text("champion"),
            version=fields.text("version"),
            labels=fields.whole("labels"),
            new_labels=fields.whole("new_labels"),
            rows=fields.numbers_by_name("rows"),
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """How the challenger of a run compares with the champion; `verdict` is the file with all figures."""

    champion: str
    challenger: str
    new_labels: int
    rows: dict[str, float]
    minutes: float
    accuracy: JsonObject
    checks: Json
    verdict: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the job, and why; `judged` is None if no model was trained."""

    outcome: str
    reason: str
    new_labels: int | None = None
    judged: Judged | None = None
    relabelled: int | None = None

    def to_json(self) -> JsonObject:
        """The object that `retrain --json` prints."""
        judged = asdict(self.judged) if self.judged else {}
        counts = {} if self.new_labels is None else {"new_labels": self.new_labels}
        relabelled = {} if self.relabelled is None else {"relabelled": self.relabelled}
        return {"outcome": self.outcome, "reason": self.reason, **counts, **judged, **relabelled}


def run_retraining(settings: Settings) -> Outcome:
    """Runs the job, or reports that another one runs."""
    registry, store = registry_refusing(lambda: _trusting(settings)), open_store(settings.store)
    try:
        work = private_folder(Path(settings.training.work).resolve())
    except OSError as error:
        raise Fatal(f"training.work: {error}", "give a folder that belongs to this user") from None
    with _locked(work) as free:
        if not free:
            return Outcome("locked", "another run holds the lock")
        return _run(settings, registry, store, work)


def _trusting(settings: Settings) -> Registry:
    """The registry, which gives out signed bundles only: this job must not sign what it made from an unsigned one.

    Without `model.trusted_keys`, the key that signs new bundles must have signed the champion too.
    """
    key, trusted = settings.training.signing_key, list(settings.model.trusted_keys)
    own = [public_of(Path(key))] if key and not trusted else []
    return registry_of(settings.model, [*trusted, *own])


def _run(settings: Settings, registry: Registry, store: Store, work: Path) -> Outcome:
    champion = registry_refusing(lambda: registry.alias(CHAMPION))
    if champion is None:
        raise Fatal(
            "the registry has no champion", "register one with 'opinionwatch models register BUNDLE', then promote it"
        )
    begun = work / "run.json"
    if begun.exists():
        run = Started.from_json(json.loads(begun.read_text("utf-8")))
        err.print(f"continuing the run of {run.at}", markup=False)
    else:
        labels = list(store.annotations())
        fresh = len(labels) - annotations_trained_on(store, len(labels))
        if fresh < settings.training.min_new_labels:
            wanted = settings.training.min_new_labels
            return Outcome("nothing new", f"{fresh} new labels, {wanted} needed", fresh)
        run = _begin(settings, registry, store, work, champion, len(labels), fresh)
    done = _train_and_judge(settings, registry, store, work, run)
    store.put_state(LAST_TRAINING, LastTraining(run.labels, datetime.fromisoformat(run.at), done.outcome))
    begun.unlink()
    return done


def _begin(
    settings: Settings, registry: Registry, store: Store, work: Path, champion: str, labels: int, fresh: int
) -> Started:
    """Freezes the data of the run, so that a run that was killed continues with the same rows."""
    manifest = registry_refusing(lambda: registry.verify(champion)).manifest
    heads = {h.name: h.labels for h in manifest.heads}
    counts = write_training_rows(store, work / "rows.jsonl", heads, settings.training.rehearsal, matcher(settings))
    at = datetime.now(UTC)
    run = Started(
        at=at.isoformat(timespec="seconds"),
        champion=champion,
        version=f"{at:%Y%m%d.%H%M%S}",
        labels=labels,
        new_labels=fresh,
        rows=dict(counts),
    )
    (work / "run.json").write_text(json.dumps(asdict(run)), "utf-8")
    return run


def _train_and_judge(settings: Settings, registry: Registry, store: Store, work: Path, run: Started) -> Outcome:
    with extra_train():
        from training.config import RETRAIN_RECIPE
        from training.evaluation.comparison import compare
        from training.evaluation.gate import Policy
        from training.request import Request
        from training.train import train
    champion = registry_refusing(lambda: registry.checkout(run.champion))
    name, target = read_manifest(champion).name, work / "bundle"
    request = Request(
        out=target,
        base=str(champion),
        version=run.version,
        config=Path(settings.training.recipe) if settings.training.recipe else RETRAIN_RECIPE,
        data=(work / "rows.jsonl", *map(Path, settings.training.data)),
        name=name,
        for_gpu=settings.training.for_gpu,
    )
    report = refusing(lambda: train(request, lambda line: err.print(line, markup=False)))
    if settings.training.signing_key:
        registry_refusing(lambda: sign(target, Path(settings.training.signing_key)))
    entry = registry_refusing(lambda: registry.register(target, by=_BY))
    registry.point(CHALLENGER, entry.id, by=_BY, reason=f"trained on {run.new_labels} new labels")
    challenger = load_bundle(target, settings.model.device)
    rates = alerts_per_key_week(store, challenger, settings.alerts, matcher(settings))
    policy = Policy(worse_by=settings.training.worse_by, class_falls_by=settings.training.class_falls_by)
    golden = [Path(p) for p in settings.training.golden]
    verdict = refusing(lambda: compare(champion, target, work / "rows.jsonl", golden, policy, rates))
    path = work / f"verdict-{entry.id}.json"
    path.write_text(json.dumps(verdict, ensure_ascii=False, indent=1), "utf-8")
    judged = Judged(
        champion=run.champion,
        challenger=entry.id,
        new_labels=run.new_labels,
        rows=run.rows,
        minutes=report["minutes"],
        accuracy=verdict["accuracy"],
        checks=verdict["checks"],
        verdict=str(path),
    )
    reason, relabelled = verdict["reason"], None
    if not verdict["promoted"]:
        return Outcome("refused", reason, judged=judged)
    if settings.training.promote == "by_hand":
        by_hand = f"{reason}; promote it with 'opinionwatch models promote {entry.id}'"
        return Outcome("passed", by_hand, judged=judged)
    if settings.training.relabel_days:
        days = settings.training.relabel_days
        with posts_bar() as advance:
            read, relabelled = relabel_last(
                store, challenger, settings.alerts.counting, days, advance, subjects=matcher(settings)
            )
        err.print(
            f"{relabelled} of {read} posts of the last {days:g} days carry labels of {entry.id} now", markup=False
        )
    registry.point(CHAMPION, entry.id, by=_BY, reason=reason)
    return Outcome("promoted", reason, judged=judged, relabelled=relabelled)


@contextmanager
def _locked(work: Path) -> Iterator[bool]:
    with (work / ".lock").open("w") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
