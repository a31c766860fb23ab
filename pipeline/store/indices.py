"""Templates and indices of the Elasticsearch store: made, grown and checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.errors import Fatal
from pipeline.store import templates as names
from pipeline.store.connection import REMEDY, Connection


class Indices:
    """`period` is what an index of posts covers."""

    def __init__(self, connection: Connection, analyzer: str, period: str, replicas: int) -> None:
        self._c, self._period = connection, period
        self._templates = names.templates(analyzer, replicas, period)

    def setup(self) -> list[str]:
        made = []
        for name, body in self._templates.items():
            if not self._c.call(lambda es, name=name: es.indices.exists_index_template(name=name)):  # type: ignore[misc]
                made.append(f"index template {name}")
            self._c.call(lambda es, name=name, body=body: es.indices.put_index_template(name=name, **_body(body)))  # type: ignore[misc]
        current = names.posts_index(datetime.now(UTC), self._period)
        for index in (current, names.ALERTS, names.LABELS, names.ORIGINALS, names.STATE):
            if self.create(index):
                made.append(f"index {index}")
        return made + self._grow_mappings()

    def check(self) -> None:
        """Raises `Fatal` where setup has not run, or another release or period made the indices."""
        try:
            found = self._c.call(lambda es: es.indices.get_index_template(name=names.POSTS))["index_templates"]
        except Fatal as error:
            raise Fatal(f"store {self._c.url} has no index template {names.POSTS} ({error})", REMEDY) from None
        meta = found[0]["index_template"].get("_meta", {})
        if (schema := meta.get("schema", 1)) < names.SCHEMA:
            raise Fatal(f"store {self._c.url} was set up by an older release (schema {schema})", REMEDY)
        period = meta.get("period")
        if period != self._period:
            raise Fatal(f"store.period is {self._period!r}, but setup fixed it at {period!r}", "set it back")

    def create(self, index: str) -> bool:
        """False where it is there."""
        if self._c.call(lambda es: es.indices.exists(index=index)):
            return False
        try:
            self._c.call(lambda es: es.indices.create(index=index))
        except Fatal as error:
            if "resource_already_exists" not in str(error):
                raise
        return True

    def _grow_mappings(self) -> list[str]:
        """Fields of a newer release for the indices that an older one made; mappings are strict."""
        made = []
        for name, body in self._templates.items():
            pattern, wanted = f"{name}*" if name == names.POSTS else name, body["template"]["mappings"]["properties"]
            found = self._c.call(lambda es, pattern=pattern: es.indices.get_mapping(index=pattern))  # type: ignore[misc]
            for index, mapping in sorted(dict(found).items()):
                if missing := {k: v for k, v in wanted.items() if k not in mapping["mappings"]["properties"]}:
                    self._c.call(
                        lambda es, index=index, new=missing: es.indices.put_mapping(index=index, properties=new)  # type: ignore[misc]
                    )
                    made.append(f"fields {', '.join(sorted(missing))} of index {index}")
        return made


def _body(template: Mapping[str, Any]) -> dict[str, Any]:
    return {("meta" if key == "_meta" else key): value for key, value in template.items()}
