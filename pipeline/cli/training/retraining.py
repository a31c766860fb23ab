"""The scheduled retraining job: idempotent, locked, and safe to kill at any point."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from models.aliases import CHALLENGER, CHAMPION
from models.bundle import load_bundle, read_manifest
from models.folders import private_folder
from models.json_types import JsonObject
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


def run_retraining(settings: Settings) -> JsonObject:
    """Runs the job, or reports that another one runs; returns its outcome and the reason for it."""
    registry, store = registry_refusing(lambda: _trusting(settings)), open_store(settings.store)
    try:
        work = private_folder(Path(settings.training.work).resolve())
    except OSError as error:
        raise Fatal(f"training.work: {error}", "give a folder that belongs to this user") from None
    with _locked(work) as free:
        if not free:
            return {"outcome": "locked", "reason": "another run holds the lock"}
        return _run(settings, registry, store, work)


def _trusting(settings: Settings) -> Registry:
    """The registry, which gives out signed bundles only: this job must not sign what it made from an unsigned one.

    Without `model.trusted_keys`, the key that signs new bundles must have signed the champion too.
    """
    key, trusted = settings.training.signing_key, list(settings.model.trusted_keys)
    own = [public_of(Path(key))] if key and not trusted else []
    return registry_of(settings.model, [*trusted, *own])


def _run(settings: Settings, registry: Registry, store: Store, work: Path) -> JsonObject:
    champion = registry_refusing(lambda: registry.alias(CHAMPION))
    if champion is None:
        raise Fatal(
            "the registry has no champion", "register one with 'opinionwatch models register BUNDLE', then promote it"
        )
    begun = work / "run.json"
    if begun.exists():
        run = json.loads(begun.read_text("utf-8"))
        err.print(f"continuing the run of {run['at']}", markup=False)
    else:
        labels = list(store.annotations())
        fresh = len(labels) - annotations_trained_on(store, len(labels))
        if fresh < settings.training.min_new_labels:
            wanted = settings.training.min_new_labels
            return {"outcome": "nothing new", "reason": f"{fresh} new labels, {wanted} needed", "new_labels": fresh}
        run = _begin(settings, registry, store, work, champion, len(labels), fresh)
    done = _train_and_judge(settings, registry, store, work, run)
    store.put_state(LAST_TRAINING, LastTraining(run["labels"], datetime.fromisoformat(run["at"]), done["outcome"]))
    begun.unlink()
    return done


def _begin(
    settings: Settings, registry: Registry, store: Store, work: Path, champion: str, labels: int, fresh: int
) -> JsonObject:
    """Freezes the data of the run, so that a run that was killed continues with the same rows."""
    manifest = registry_refusing(lambda: registry.verify(champion)).manifest
    heads = {h.name: h.labels for h in manifest.heads}
    counts = write_training_rows(store, work / "rows.jsonl", heads, settings.training.rehearsal, matcher(settings))
    at = datetime.now(UTC)
    run = {
        "at": at.isoformat(timespec="seconds"),
        "champion": champion,
        "version": f"{at:%Y%m%d.%H%M%S}",
        "labels": labels,
        "new_labels": fresh,
        "rows": dict(counts),
    }
    (work / "run.json").write_text(json.dumps(run), "utf-8")
    return run


def _train_and_judge(settings: Settings, registry: Registry, store: Store, work: Path, run: JsonObject) -> JsonObject:
    with extra_train():
        from training.config import RETRAIN_RECIPE
        from training.evaluation.comparison import compare
        from training.evaluation.gate import Policy
        from training.request import Request
        from training.train import train
    champion = registry_refusing(lambda: registry.checkout(run["champion"]))
    name, target = read_manifest(champion).name, work / "bundle"
    request = Request(
        out=target,
        base=str(champion),
        version=run["version"],
        config=Path(settings.training.recipe) if settings.training.recipe else RETRAIN_RECIPE,
        data=(work / "rows.jsonl", *map(Path, settings.training.data)),
        name=name,
        for_gpu=settings.training.for_gpu,
    )
    report = refusing(lambda: train(request, lambda line: err.print(line, markup=False)))
    if settings.training.signing_key:
        registry_refusing(lambda: sign(target, Path(settings.training.signing_key)))
    entry = registry_refusing(lambda: registry.register(target, by=_BY))
    registry.point(CHALLENGER, entry.id, by=_BY, reason=f"trained on {run['new_labels']} new labels")
    challenger = load_bundle(target, settings.model.device)
    rates = alerts_per_key_week(store, challenger, settings.alerts, matcher(settings))
    policy = Policy(worse_by=settings.training.worse_by, class_falls_by=settings.training.class_falls_by)
    golden = [Path(p) for p in settings.training.golden]
    verdict = refusing(lambda: compare(champion, target, work / "rows.jsonl", golden, policy, rates))
    path = work / f"verdict-{entry.id}.json"
    path.write_text(json.dumps(verdict, ensure_ascii=False, indent=1), "utf-8")
    done = {
        "reason": verdict["reason"],
        "champion": run["champion"],
        "challenger": entry.id,
        "new_labels": run["new_labels"],
        "rows": run["rows"],
        "minutes": report["minutes"],
        "accuracy": verdict["accuracy"],
        "checks": verdict["checks"],
        "verdict": str(path),
    }
    if not verdict["promoted"]:
        return {"outcome": "refused", **done}
    if settings.training.promote == "by_hand":
        done["reason"] = f"{verdict['reason']}; promote it with 'opinionwatch models promote {entry.id}'"
        return {"outcome": "passed", **done}
    if settings.training.relabel_days:
        days = settings.training.relabel_days
        with posts_bar() as advance:
            read, written = relabel_last(
                store, challenger, settings.alerts.counting, days, advance, subjects=matcher(settings)
            )
        done["relabelled"] = written
        err.print(f"{written} of {read} posts of the last {days:g} days carry labels of {entry.id} now", markup=False)
    registry.point(CHAMPION, entry.id, by=_BY, reason=verdict["reason"])
    return {"outcome": "promoted", **done}


@contextmanager
def _locked(work: Path) -> Iterator[bool]:
    with (work / ".lock").open("w") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
