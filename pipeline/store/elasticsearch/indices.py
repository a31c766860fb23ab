"""Creates, extends and checks the templates and indices of the Elasticsearch store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from fnmatch import fnmatchcase

from pipeline.domain.errors import Fatal, Transient
from pipeline.store.elasticsearch import templates as names
from pipeline.store.elasticsearch.connection import Connection
from pipeline.store.elasticsearch.refusals import SETUP
from pipeline.store.elasticsearch.stored import IndexTemplate

_CLOSED = "index.verified_before_close"
_BLOCKS = ("index.blocks.read_only", "index.blocks.read_only_allow_delete", "index.blocks.write", "index.blocks.read")
#: The parts of a template that are read: a cluster may have hundreds of templates with long mappings.
_TEMPLATE_PARTS = ("index_patterns", "priority", "_meta")
#: How many indices a message names.
_SHOWN = 5


class Indices:
    """Takes the layout that the settings ask for; a `backfill_before` of None keeps what setup chose."""

    def __init__(
        self,
        connection: Connection,
        analyzer: str,
        period: str,
        replicas: int,
        backfill_before: date | None,
        now: Callable[[], datetime],
    ) -> None:
        self._connection, self._store, self._now = connection, f"store {connection.url}", now
        self._analyzer, self._replicas = analyzer, replicas
        self._period, self._backfill_before = period, backfill_before
        self._layout: names.Layout | None = None
        self._ready: set[str] = set()

    def setup(self) -> list[str]:
        """Creates what is missing; returns one line per thing created."""
        self._refuse_index_for_alias()
        found = self._templates_found()
        layout = self._layout_to_set_up(found)
        templates = names.templates(self._analyzer, self._replicas, layout)
        made = []
        for name, template in templates.items():
            if name not in found:
                made.append(f"index template {name}")
            self._put_template(name, template)
        self._refuse_overridden(self._templates_found())
        for index in (layout.index(self._now()), names.ALERTS, names.LABELS, names.ORIGINALS, names.STATE):
            if self._create(index):
                made.append(f"index {index}")
        self._layout = layout
        if names.POSTS in found and names.layout_of(found[names.POSTS].meta) != layout:
            made.append(f"one index per year for posts from before {layout.backfill_before}")
        return made + self._grow_mappings(templates)

    def check(self) -> names.Layout:
        """The layout that setup fixed; raises `Fatal` if setup has not run or does not match release and settings."""
        self._refuse_index_for_alias()
        found = self._templates_found()
        if names.POSTS not in found:
            raise Fatal(f"{self._store} has no index template {names.POSTS}", SETUP)
        self._refuse_overridden(found)
        posts = found[names.POSTS]
        if posts.schema < names.SCHEMA:
            raise Fatal(f"{self._store} was set up by an older release (schema {posts.schema})", SETUP)
        layout = names.layout_of(posts.meta)
        if layout.period != self._period:
            raise Fatal(
                f"store.period is {self._period!r}, but setup fixed it at {layout.period!r}",
                f"set store.period to {layout.period!r}",
            )
        if self._backfill_before and layout.backfill_before != self._backfill_before:
            raise Fatal(
                f"store.backfill_before is {self._backfill_before}, but setup fixed it at {layout.backfill_before}",
                f"set it to {layout.backfill_before}, or stop the workers and run 'opinionwatch setup'",
            )
        known, self._layout = self._layout, layout
        if known and known != layout:
            raise Transient(f"setup has moved store.backfill_before from {known.backfill_before}: try again")
        return layout

    def health(self) -> str:
        """Notes about the indices for a person, in a few words; raises if an index that is needed cannot be used."""
        layout = self.layout()
        needed = {layout.index(self._now()), names.ALERTS, names.LABELS, names.ORIGINALS, names.STATE}
        settings = self._connection.call(
            lambda es: es.indices.get_settings(
                index="opinion-*", flat_settings=True, expand_wildcards=["open", "closed"], ignore_unavailable=True
            )
        ).body
        settings_of = {name: entry.get("settings", {}) for name, entry in settings.items()}
        closed = sorted(n for n, s in settings_of.items() if s.get(_CLOSED) == "true")
        if missing := sorted(set(closed) & needed):
            raise Transient(
                f"{self._store}: index {', '.join(missing)} is closed",
                remedy=f"open it (POST /{','.join(missing)}/_open)",
            )
        for name, blocks in sorted((n, [b for b in _BLOCKS if s.get(b) == "true"]) for n, s in settings_of.items()):
            if blocks and name in needed:
                raise Transient(
                    f"{self._store}: index {name} is blocked ({', '.join(blocks)})",
                    remedy=f"free disk space where it is full, then PUT /{name}/_settings with {blocks[0]}: null",
                )
        old = f", one index per year for posts from before {layout.backfill_before}" if layout.backfill_before else ""
        return old + (f", closed and not searched: {_some(closed)}" if closed else "")

    def layout(self) -> names.Layout:
        """The layout that setup fixed; Elasticsearch is asked once."""
        return self._layout or self.check()

    def make_ready(self, indices: Iterable[str]) -> None:
        """Creates the indices that are missing; raises `Fatal` if setup has not run. It asks once per index."""
        new = set(indices) - self._ready
        if new:
            self.check()
        for index in sorted(new):
            self._create(index)
            self._ready.add(index)

    def _create(self, index: str) -> bool:
        """Creates an index; returns False if it exists."""
        if self._connection.call(lambda es: es.indices.exists(index=index)):
            return False
        try:
            self._connection.call(lambda es: es.indices.create(index=index))
        except Fatal as error:
            if "resource_already_exists" not in str(error):
                raise
        return True

    def _put_template(self, name: str, template: names.Template) -> None:
        self._connection.call(
            lambda es: es.indices.put_index_template(
                name=name,
                index_patterns=[template.pattern],
                priority=names.PRIORITY,
                meta=template.meta,
                template=template.body,
            )
        )

    def _templates_found(self) -> dict[str, IndexTemplate]:
        wanted = [f"index_templates.{part}" for part in ("name", *(f"index_template.{key}" for key in _TEMPLATE_PARTS))]
        found = self._connection.call(lambda es: es.indices.get_index_template(filter_path=wanted)).get(
            "index_templates", []
        )
        return {entry["name"]: IndexTemplate.from_json(entry.get("index_template", {})) for entry in found}

    def _refuse_index_for_alias(self) -> None:
        if names.POSTS in self._connection.alternatives(names.POSTS):
            raise Fatal(
                f"{self._store}: {names.POSTS} is an index, but must be an alias of the indices {names.POSTS}-*; "
                f"another program wrote to that name before 'opinionwatch setup' ran",
                f"copy its documents if you need them (POST /_reindex from {names.POSTS} to kept-{names.POSTS}), "
                f"delete it (DELETE /{names.POSTS}), then run 'opinionwatch setup'",
            )

    def _refuse_overridden(self, found: Mapping[str, IndexTemplate]) -> None:
        """Raises `Fatal` if a template of another owner takes precedence for one of our indices."""
        for name, template in sorted(found.items(), key=lambda item: item[0]):
            if name in names.OURS or template.priority <= names.PRIORITY:
                continue
            patterns = [p for p in template.patterns if any(fnmatchcase(x, p) for x in names.EXAMPLES)]
            if patterns:
                raise Fatal(
                    f"{self._store}: index template {name} (priority {template.priority}, pattern {patterns[0]}) "
                    f"takes precedence over those of opinionwatch (priority {names.PRIORITY})",
                    f"narrow its patterns, lower its priority below {names.PRIORITY}, or delete it "
                    f"(DELETE /_index_template/{name}), then run 'opinionwatch setup'",
                )

    def _layout_to_set_up(self, found: Mapping[str, IndexTemplate]) -> names.Layout:
        """The layout that the settings ask for, or the present one; raises `Fatal` if indexed posts would be lost."""
        indices = self._connection.alternatives(names.POSTS)
        first = names.first_layout(self._period, self._now().date(), indices)
        there = found.get(names.POSTS)
        before = names.layout_of(there.meta) if there and there.meta else first
        layout = names.Layout(self._period, self._backfill_before or names.later(before, first))
        if misplaced := [index for index in indices if layout.misplaces(index, before)]:
            raise Fatal(
                f"{self._store}: with store.period {layout.period!r} and store.backfill_before "
                f"{layout.backfill_before}, the posts in {_some(misplaced)} would belong to other indices; they were "
                f"written with {before.period!r} and {before.backfill_before}",
                "set both settings back, or delete these indices first",
            )
        return layout

    def _grow_mappings(self, templates: Mapping[str, names.Template]) -> list[str]:
        """Adds new fields to indices that an older release created, because their mappings are strict."""
        made = []
        for name, template in templates.items():
            pattern, wanted = f"{name}*" if name == names.POSTS else name, template.properties
            found = self._connection.call(lambda es, pattern=pattern: es.indices.get_mapping(index=pattern))  # type: ignore[misc]
            for index, mapping in sorted(dict(found).items()):
                if missing := {k: v for k, v in wanted.items() if k not in mapping["mappings"]["properties"]}:
                    self._connection.call(
                        lambda es, index=index, new=missing: es.indices.put_mapping(index=index, properties=new)  # type: ignore[misc]
                    )
                    made.append(f"fields {', '.join(sorted(missing))} of index {index}")
        return made


def _some(indices: list[str]) -> str:
    more = len(indices) - _SHOWN
    return ", ".join(indices[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
