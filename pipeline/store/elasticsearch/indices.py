"""Templates and indices of the Elasticsearch store: made, grown and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from typing import Any

from pipeline.domain.errors import Fatal, Transient
from pipeline.store.elasticsearch import templates as names
from pipeline.store.elasticsearch.connection import Connection
from pipeline.store.elasticsearch.refusals import SETUP

_CLOSED = "index.verified_before_close"
_BLOCKS = ("index.blocks.read_only", "index.blocks.read_only_allow_delete", "index.blocks.write", "index.blocks.read")
#: A cluster may hold hundreds of templates with long mappings.
_OF_A_TEMPLATE = ("index_patterns", "priority", "_meta")
_SHOWN = 5


class Indices:
    """`period` and `backfill_before` (None: as setup chose it) are what the settings ask for."""

    def __init__(
        self, connection: Connection, analyzer: str, period: str, replicas: int, backfill_before: date | None = None
    ) -> None:
        self._c, self._analyzer, self._replicas = connection, analyzer, replicas
        self._period, self._backfill_before = period, backfill_before
        self._layout: names.Layout | None = None
        self._ready: set[str] = set()

    def setup(self) -> list[str]:
        """Creates what is missing; a line for each thing made."""
        self._refuse_index_for_alias()
        found = self._templates_found()
        layout = self._layout_to_set_up(found)
        templates = names.templates(self._analyzer, self._replicas, layout)
        made = []
        for name, body in templates.items():
            if name not in found:
                made.append(f"index template {name}")
            self._c.call(lambda es, name=name, body=body: es.indices.put_index_template(name=name, **_body(body)))  # type: ignore[misc]
        self._refuse_overridden(self._templates_found())
        for index in (layout.index(datetime.now(UTC)), names.ALERTS, names.LABELS, names.ORIGINALS, names.STATE):
            if self._create(index):
                made.append(f"index {index}")
        self._layout = layout
        if names.POSTS in found and names.layout_of(found[names.POSTS].get("_meta", {})) != layout:
            made.append(f"one index a year for posts from before {layout.backfill_before}")
        return made + self._grow_mappings(templates)

    def check(self) -> names.Layout:
        """What setup fixed; raises `Fatal` where it has not run, or another release, layout or template stands."""
        self._refuse_index_for_alias()
        found = self._templates_found()
        if names.POSTS not in found:
            raise Fatal(f"store {self._c.url} has no index template {names.POSTS}", SETUP)
        self._refuse_overridden(found)
        meta = found[names.POSTS].get("_meta", {})
        if (schema := meta.get("schema", 1)) < names.SCHEMA:
            raise Fatal(f"store {self._c.url} was set up by an older release (schema {schema})", SETUP)
        layout = names.layout_of(meta)
        if layout.period != self._period:
            raise Fatal(f"store.period is {self._period!r}, but setup fixed it at {layout.period!r}", "set it back")
        if self._backfill_before and layout.backfill_before != self._backfill_before:
            raise Fatal(
                f"store.backfill_before is {self._backfill_before}, but setup fixed it at {layout.backfill_before}",
                "set it back, or stop the workers and run 'opinionwatch setup'",
            )
        known, self._layout = self._layout, layout
        if known and known != layout:
            raise Transient(
                f"setup has moved store.backfill_before from {known.backfill_before}: once more with the new"
            )
        return layout

    def health(self) -> str:
        """What a person should know of the indices, a few words; raises where one that is needed cannot be used."""
        layout = self.layout()
        needed = {layout.index(datetime.now(UTC)), names.ALERTS, names.LABELS, names.ORIGINALS, names.STATE}
        settings = self._c.call(
            lambda es: es.indices.get_settings(
                index="opinion-*", flat_settings=True, expand_wildcards=["open", "closed"], ignore_unavailable=True
            )
        ).body
        of = {name: entry.get("settings", {}) for name, entry in settings.items()}
        closed = sorted(n for n, s in of.items() if s.get(_CLOSED) == "true")
        if missing := sorted(set(closed) & needed):
            raise Transient(
                f"store {self._c.url}: index {', '.join(missing)} is closed",
                remedy=f"open it (POST /{','.join(missing)}/_open)",
            )
        for name, blocks in sorted((n, [b for b in _BLOCKS if s.get(b) == "true"]) for n, s in of.items()):
            if blocks and name in needed:
                raise Transient(
                    f"store {self._c.url}: index {name} is blocked ({', '.join(blocks)})",
                    remedy=f"free disk space where it is full, then PUT /{name}/_settings with {blocks[0]}: null",
                )
        old = f", one index a year for posts from before {layout.backfill_before}" if layout.backfill_before else ""
        return old + (f", closed and not searched: {_some(closed)}" if closed else "")

    def layout(self) -> names.Layout:
        """As setup fixed it; asked for once."""
        return self._layout or self.check()

    def make_ready(self, indices: Iterable[str]) -> None:
        """Creates those that are missing, where setup has run; asks once for each."""
        new = set(indices) - self._ready
        if new:
            self.check()
        for index in sorted(new):
            self._create(index)
            self._ready.add(index)

    def _create(self, index: str) -> bool:
        """False where it is there."""
        if self._c.call(lambda es: es.indices.exists(index=index)):
            return False
        try:
            self._c.call(lambda es: es.indices.create(index=index))
        except Fatal as error:
            if "resource_already_exists" not in str(error):
                raise
        return True

    def _templates_found(self) -> dict[str, dict[str, Any]]:
        wanted = [f"index_templates.{part}" for part in ("name", *(f"index_template.{key}" for key in _OF_A_TEMPLATE))]
        found = self._c.call(lambda es: es.indices.get_index_template(filter_path=wanted)).get("index_templates", [])
        return {entry["name"]: entry.get("index_template", {}) for entry in found}

    def _refuse_index_for_alias(self) -> None:
        if names.POSTS in self._c.alternatives(names.POSTS):
            raise Fatal(
                f"store {self._c.url}: {names.POSTS} is an index and must be an alias of the indices {names.POSTS}-*; "
                f"something wrote to that name before 'opinionwatch setup' ran",
                f"keep what is in it (POST /_reindex from {names.POSTS} to kept-{names.POSTS}) if you need it, delete "
                f"it (DELETE /{names.POSTS}), then run 'opinionwatch setup'",
            )

    def _refuse_overridden(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        """Raises `Fatal` where a template that is not ours wins for one of our indices."""
        for name, body in sorted(found.items()):
            if name in names.OURS or body.get("priority", 0) <= names.PRIORITY:
                continue
            patterns = [p for p in body.get("index_patterns", []) if any(fnmatchcase(x, p) for x in names.EXAMPLES)]
            if patterns:
                raise Fatal(
                    f"store {self._c.url}: index template {name} (priority {body['priority']}, pattern {patterns[0]}) "
                    f"takes the place of those of opinionwatch (priority {names.PRIORITY})",
                    f"narrow its patterns, lower its priority below {names.PRIORITY}, or delete it "
                    f"(DELETE /_index_template/{name}), then run 'opinionwatch setup'",
                )

    def _layout_to_set_up(self, found: Mapping[str, Mapping[str, Any]]) -> names.Layout:
        """What the settings ask for, or else what stands; raises `Fatal` where posts that are there would be lost."""
        indices = self._c.alternatives(names.POSTS)
        first = names.first_layout(self._period, datetime.now(UTC).date(), indices)
        meta = found.get(names.POSTS, {}).get("_meta", {})
        before = names.layout_of(meta) if meta else first
        layout = names.Layout(self._period, self._backfill_before or names.later(before, first))
        if misplaced := [index for index in indices if layout.misplaces(index, before)]:
            raise Fatal(
                f"store {self._c.url}: with store.period {layout.period!r} and store.backfill_before "
                f"{layout.backfill_before} the posts of {_some(misplaced)} would belong to other indices; they were "
                f"written with {before.period!r} and {before.backfill_before}",
                "set both back, or delete these indices first",
            )
        return layout

    def _grow_mappings(self, templates: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Fields of a newer release for the indices that an older one made; mappings are strict."""
        made = []
        for name, body in templates.items():
            pattern, wanted = f"{name}*" if name == names.POSTS else name, body["template"]["mappings"]["properties"]
            found = self._c.call(lambda es, pattern=pattern: es.indices.get_mapping(index=pattern))  # type: ignore[misc]
            for index, mapping in sorted(dict(found).items()):
                if missing := {k: v for k, v in wanted.items() if k not in mapping["mappings"]["properties"]}:
                    self._c.call(
                        lambda es, index=index, new=missing: es.indices.put_mapping(index=index, properties=new)  # type: ignore[misc]
                    )
                    made.append(f"fields {', '.join(sorted(missing))} of index {index}")
        return made


def _some(indices: list[str]) -> str:
    more = len(indices) - _SHOWN
    return ", ".join(indices[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _body(template: Mapping[str, Any]) -> dict[str, Any]:
    return {("meta" if key == "_meta" else key): value for key, value in template.items()}
