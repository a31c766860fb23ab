"""`opinionwatch models list|show|register|keygen|sign|promote|rollback|relabel|drift`."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from models.bundle import BundleError
from models.drift import distances, profile
from models.registry import CHALLENGER, CHAMPION, Entry, Registry, RegistryError, RegistryUnavailableError
from models.signing import new_key, sign
from pipeline.annotation.relabelling import relabel_last
from pipeline.classify.model_provider import open_classifier
from pipeline.classify.stage import Classifier
from pipeline.cli.common import AsJson, Config, err, out, posts_bar, print_json, settings_of
from pipeline.domain.errors import EXIT_UNAVAILABLE, EXIT_USAGE, Fatal
from pipeline.settings import Settings
from pipeline.store.factory import open_store
from pipeline.store.protocol import Store

_DAYS = 7.0
_RELABEL = "now run 'opinionwatch models relabel': until then its labels look like a change of opinion"
app = typer.Typer(help="The registry of models: which one serves, and the way back.", no_args_is_help=True)
T = TypeVar("T")
Version = Annotated[str, typer.Argument(help="An id of 'models list'.")]
Reason = Annotated[str, typer.Option("--reason", help="Stands in the audit trail.")]
Relabel = Annotated[
    bool, typer.Option("--relabel", help="Then labels the last days anew (training.relabel_days), as 'models relabel'.")
]


@app.command("list")
def list_(as_json: AsJson = False, config: Config = None) -> None:
    """All versions, the oldest first, and which aliases name them.

    Example: opinionwatch models list
    """
    registry = registry_of(settings_of(config))
    entries, names = refusing(registry.entries), refusing(registry.aliases)
    rows = [{**asdict(e), "aliases": sorted(a for a, id_ in names.items() if id_ == e.id)} for e in entries]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        named = ", ".join(row["aliases"])
        out.print(
            f"{row['id']:32} {row['registered_at'][:19]}  {row['size_bytes'] / 1e6:6.1f} MB  {named}", markup=False
        )
    if not rows:
        out.print("the registry is empty: 'opinionwatch models register BUNDLE' puts the first version there")


@app.command()
def show(version: Version, as_json: AsJson = False, config: Config = None) -> None:
    """One version: its heads, its scores and what happened to it.

    Example: opinionwatch models show starter-0.2.0
    """
    registry = registry_of(settings_of(config))
    entry: Entry = refusing(lambda: registry.entry(version))
    manifest = refusing(lambda: registry.verify(version)).manifest
    trail = [e for e in registry.audit() if version in e.values()]
    heads = {h.name: h.labels for h in manifest.heads}
    if as_json:
        print_json({**asdict(entry), "heads": heads, "training": manifest.training, "audit": trail})
        return
    out.print(f"{entry.id}, number {entry.sequence}, registered {entry.registered_at[:19]}", markup=False)
    for head, labels in heads.items():
        out.print(f"  {head}: {', '.join(labels)}", markup=False)
    for name, value in entry.metrics.items():
        out.print(f"  {name:55} {value}", markup=False)
    for event in trail:
        what = " ".join(f"{k}={v}" for k, v in event.items() if k not in {"at", "action"})
        out.print(f"{event['at'][:19]} {event['action']} {what}", markup=False)


@app.command()
def register(
    bundle: Annotated[Path, typer.Argument(help="The folder of a bundle.")],
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Verifies a bundle and copies it into the registry; nothing serves it yet.

    Example: opinionwatch models register my-bundle
    """
    registry = registry_of(settings_of(config))
    entry = refusing(lambda: registry.register(bundle, by=getpass.getuser()))
    if as_json:
        print_json(asdict(entry))
    else:
        out.print(f"registered {entry.id} as number {entry.sequence}", markup=False)


@app.command()
def keygen(
    file: Annotated[Path, typer.Argument(help="Where the private key goes; it must not exist.")],
    as_json: AsJson = False,
) -> None:
    """Makes a key to sign bundles with; prints the public one for model.trusted_keys.

    Example: opinionwatch models keygen /etc/opinionwatch/signing.pem
    """
    try:
        public = new_key(file)
    except OSError as error:
        raise Fatal(
            f"{file}: {error.strerror}", "give a path that can be written and does not exist", EXIT_USAGE
        ) from None
    if as_json:
        print_json({"private_key": str(file), "public_key": public})
    else:
        out.print(public, markup=False)


@app.command("sign")
def sign_(
    bundle: Annotated[Path, typer.Argument(help="The folder of a bundle.")],
    key: Annotated[Path, typer.Option("--key", help="The private key of 'models keygen'.")],
    as_json: AsJson = False,
) -> None:
    """Signs a bundle: it may then serve where model.trusted_keys holds the public key.

    Example: opinionwatch models sign my-bundle --key /etc/opinionwatch/signing.pem
    """
    public = refusing(lambda: sign(bundle, key))
    if as_json:
        print_json({"bundle": str(bundle), "public_key": public})
    else:
        out.print(f"signed {bundle} by {public}", markup=False)


@app.command()
def promote(
    version: Version,
    alias: Annotated[str, typer.Option("--alias", help="champion serves, challenger runs in its shadow.")] = CHAMPION,
    reason: Reason = "by hand",
    relabel: Relabel = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Makes a version the champion: the workers take it over between two batches, without a restart.

    Example: opinionwatch models promote starter-0.3.0 --reason "better on the golden set"
    """
    if alias not in {CHAMPION, CHALLENGER}:
        raise Fatal(f"--alias {alias}", f"it is {CHAMPION} or {CHALLENGER}", EXIT_USAGE)
    settings = settings_of(config)
    registry = registry_of(settings)
    refusing(lambda: registry.verify(version))
    refusing(lambda: registry.point(alias, version, by=getpass.getuser(), reason=reason))
    if not as_json:
        out.print(f"{version} is {alias}", markup=False)
    _after_a_switch(settings, registry, alias, relabel, as_json)


@app.command()
def rollback(
    reason: Reason = "by hand", relabel: Relabel = False, as_json: AsJson = False, config: Config = None
) -> None:
    """The champion before this one serves again.

    Example: opinionwatch models rollback --reason "too many false alarms" --relabel
    """
    settings = settings_of(config)
    registry = registry_of(settings)
    back = refusing(lambda: registry.rollback(by=getpass.getuser(), reason=reason))
    if not as_json:
        out.print(f"{back} is {CHAMPION} again", markup=False)
    _after_a_switch(settings, registry, CHAMPION, relabel, as_json)


def _after_a_switch(settings: Settings, registry: Registry, alias: str, relabel: bool, as_json: bool) -> None:
    """Labels the last days anew where asked to; else says, of the alias that serves, that it is to be done."""
    told: dict[str, Any] = dict(registry.aliases())
    if alias == settings.model.alias and relabel:
        told["relabelled"] = _label_anew(settings, settings.training.relabel_days or _DAYS, as_json)["relabelled"]
    elif alias == settings.model.alias and not as_json:
        err.print(_RELABEL)
    if as_json:
        print_json(told)


@app.command()
def relabel(
    days: Annotated[
        float, typer.Option("--days", min=0.0, max=36_500, help="Of event time, up to the newest post.")
    ] = _DAYS,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Labels the last days anew with the champion, so that a new model does not look like a spike.

    Example: opinionwatch models relabel --days 7
    """
    told = _label_anew(settings_of(config), days, as_json)
    if as_json:
        print_json(told)


def _label_anew(settings: Settings, days: float, as_json: bool) -> dict[str, Any]:
    registry = registry_of(settings)
    champion = refusing(lambda: registry.alias(settings.model.alias))
    if champion is None:
        raise Fatal(f"the registry has no {settings.model.alias}", "promote a version first", EXIT_USAGE)
    with posts_bar() as tell:
        classifier, counting = open_classifier(settings.model), settings.alerts.counting
        seen, changed = relabel_last(open_store(settings.store), classifier, counting, days, tell)
    if not as_json:
        out.print(f"{changed} of {seen} posts carry labels of {champion} now", markup=False)
    return {"model": champion, "posts": seen, "relabelled": changed}


@app.command()
def drift(
    days: Annotated[
        float, typer.Option("--days", min=0.01, max=36_500, help="Of event time, up to the newest post.")
    ] = 1.0,
    limit: Annotated[int, typer.Option("--limit", min=100, help="Posts to look at.")] = 2000,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """How far posts and labels have moved from what the model was made on, and what accuracy is to be expected.

    Example: opinionwatch models drift --days 7
    """
    settings = settings_of(config)
    store, engine = open_store(settings.store), open_classifier(settings.model)
    if engine.reference is None:
        raise Fatal(f"{engine.name} {engine.version} keeps no reference", "train it anew: 'opinionwatch train'")
    found = drift_of(store, engine, days, limit)
    if as_json:
        print_json(found)
        return
    if not found["posts"]:
        out.print("no post in that time")
        return
    for name, row in found["distances"].items():
        out.print(f"{name:24} {row['value']:.4f} bits ({row['low']:.4f} to {row['high']:.4f})", markup=False)
    for head, row in found["expected_accuracy"].items():
        out.print(f"expected accuracy {head:14} {row['now']:.3f}, when made {row['reference']:.3f}", markup=False)
    for head, share in found["agreement_with_labels"].items():
        out.print(f"agreement with the newest labels {head:10} {share:.3f}", markup=False)
    now, then = found["unknown_tokens"]["now"], found["unknown_tokens"]["reference"]
    out.print(f"unknown tokens {now:.4f}, when made {then:.4f}; {found['posts']} posts")


def drift_of(store: Store, engine: Classifier, days: float, limit: int) -> dict[str, Any]:
    """Distances with intervals, expected accuracy and unknown tokens beside the reference, agreement with labels."""
    bounds, then = store.bounds(), engine.reference
    documents = []
    if bounds is not None:
        end = bounds[1] + timedelta(seconds=1)
        documents = [d for d in store.documents(end - timedelta(days=days), end) if not d.repost][-limit:]
    if then is None or not documents:
        return {"posts": 0}
    texts = [d.post.full_text for d in documents]
    now = profile(texts, engine.predict(texts), engine.unknown_share(texts))
    newest: dict[str, list[bool]] = {}
    for label in list(store.annotations())[-1000:]:
        if label.suggested:
            newest.setdefault(label.head, []).append(label.suggested == label.label)
    return {
        "model": f"{engine.name} {engine.version}",
        "posts": len(documents),
        "distances": {name: asdict(d) for name, d in distances(then, now).items()},
        "expected_accuracy": {
            h: {"now": round(v, 4), "reference": round(then.expected_accuracy.get(h, 0.0), 4)}
            for h, v in now.expected_accuracy.items()
        },
        "unknown_tokens": {"now": now.unknown_tokens, "reference": then.unknown_tokens},
        "agreement_with_labels": {h: round(sum(x) / len(x), 4) for h, x in newest.items()},
    }


def registry_of(settings: Settings, trusted: Sequence[str] | None = None) -> Registry:
    """The registry of the settings, which trusts the keys given or theirs; raises `Fatal` where none is set."""
    if not settings.model.registry:
        raise Fatal("model.registry is not set", "set OPINIONWATCH_MODEL__REGISTRY to a folder or an fsspec URL")
    keys = settings.model.trusted_keys if trusted is None else trusted
    return refusing(lambda: Registry(settings.model.registry, trusted=keys))


def refusing(call: Callable[[], T]) -> T:
    """Runs `call`; what the registry or a bundle refuses becomes a `Fatal`."""
    try:
        return call()
    except RegistryUnavailableError as error:
        remedy = "check that its storage answers, and your rights"
        raise Fatal(f"model.registry: {error}", remedy, EXIT_UNAVAILABLE) from None
    except (RegistryError, BundleError) as error:
        raise Fatal(str(error)) from None
    except OSError as error:
        raise Fatal(f"model.registry: {error}", "check the path and its rights") from None
