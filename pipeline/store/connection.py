"""The connection to Elasticsearch 8.19 or 9. The only module that imports its client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import orjson
from elasticsearch import ApiError, ConflictError, Elasticsearch, TransportError

from pipeline.errors import EXIT_UNAVAILABLE, Fatal, Transient
from pipeline.store import templates as names
from pipeline.store.bulk import ItemVerdict, item_verdicts

T = TypeVar("T")
PAGE = 5000
REMEDY = "run 'opinionwatch setup' with a user that may create templates and indices"


class Connection:
    """Raises `Transient` or `Fatal` only; safe from several threads."""

    def __init__(self, url: str, username: str, password: str, ca_file: str, timeout_s: float) -> None:
        self.url = url
        tls: dict[str, Any] = {"ca_certs": ca_file} if ca_file else {}
        self._es = Elasticsearch(
            url,
            basic_auth=(username, password) if username else None,
            request_timeout=timeout_s,
            max_retries=0,
            retry_on_timeout=False,
            **tls,
        )

    def close(self) -> None:
        self._es.close()

    def call(self, request: Callable[[Elasticsearch], T]) -> T:
        """One request through the client."""
        try:
            return request(self._es)
        except ApiError as error:
            raise self._translated(error) from None
        except TransportError as error:
            raise Transient(f"store {self.url} cannot be reached: {type(error).__name__}") from error

    def get(self, index: str, key: str) -> dict[str, Any] | None:
        """One document with its `_source`, `_seq_no` and `_primary_term`, as it was written last."""
        found: dict[str, Any] = self.call(lambda es: es.mget(index=index, ids=[key]))["docs"][0]
        return found if found.get("found") else None

    def put(self, index: str, key: str, document: Mapping[str, Any], **condition: Any) -> bool:
        """Writes one document, visible when this returns; False where it is not as `condition` says (409)."""

        def request(es: Elasticsearch) -> bool:
            try:
                es.index(index=index, id=key, document=document, refresh=True, **condition)
            except ConflictError:
                return False
            return True

        return self.call(request)

    def bulk(self, operations: list[list[dict[str, Any]]]) -> list[ItemVerdict]:
        """WRITTEN, CONFLICT or REJECTED per operation; a request that is too large is split in halves."""
        if not operations:
            return []
        lines: list[Any] = [orjson.dumps(line) for operation in operations for line in operation]
        try:
            response: object = self.call(lambda es: es.bulk(operations=lines).body)
        except _TooLargeError:
            if len(operations) == 1:
                return [ItemVerdict.REJECTED]
            half = len(operations) // 2
            return self.bulk(operations[:half]) + self.bulk(operations[half:])
        got = item_verdicts(response, len(operations))
        if ItemVerdict.FATAL in got:
            raise Fatal(f"store {self.url} refuses writes (401, 403, 404 or a bad request)", REMEDY)
        if ItemVerdict.SPLIT in got or ItemVerdict.RETRY in got:
            again = [i for i, v in enumerate(got) if v in {ItemVerdict.SPLIT, ItemVerdict.RETRY}]
            if len(again) == len(operations):
                raise Transient(f"store {self.url} took none of {len(operations)} documents", retry_after_s=1.0)
            for i, v in zip(again, self.bulk([operations[i] for i in again]), strict=True):
                got[i] = v
        return got

    def mget(self, docs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not docs:
            return []
        answer = self.call(lambda es: es.mget(docs=docs))["docs"]
        if len(answer) != len(docs) or not all(d.get("found") for d in answer):
            raise Transient(f"store {self.url}: a document in conflict cannot be read yet")
        return [d["_source"] for d in answer]

    def search(self, *, index: str = names.POSTS, **body: Any) -> Any:
        return self.call(lambda es: es.search(index=index, ignore_unavailable=True, **body))

    def scan(self, index: str, **search: Any) -> Iterator[dict[str, Any]]:
        """All hits of a search at one point in time, page by page."""
        pit = self.call(lambda es: es.open_point_in_time(index=index, keep_alive="2m"))["id"]
        after: list[Any] | None = None
        try:
            while True:
                hits = self.call(
                    lambda es, after=after: es.search(  # type: ignore[misc]
                        pit={"id": pit, "keep_alive": "2m"}, size=PAGE, search_after=after, **search
                    )
                )["hits"]["hits"]
                yield from hits
                if len(hits) < PAGE:
                    break
                after = hits[-1]["sort"]
        finally:  # also where the caller wants no more of it; it ends by itself after a while
            with suppress(Fatal, Transient):
                self.call(lambda es: es.close_point_in_time(id=pit))

    def _translated(self, error: ApiError) -> Exception:
        status = error.meta.status
        kind = error.error if isinstance(error.error, str) else type(error).__name__
        message = f"store {self.url}: {status} {kind}"
        if status == 413:
            return _TooLargeError(message)
        if status == 429 or status >= 500 or kind == "cluster_block_exception":
            return Transient(message, retry_after_s=1.0)
        if kind == "media_type_header_exception":
            return Fatal(message, "install the client of the server's major version: pip install 'elasticsearch<9'")
        if status in {401, 403}:
            return Fatal(message, "check store.url, store.password and the role of that user")
        if status == 404:
            return Fatal(message, REMEDY)
        return Fatal(message, "this is a request of ours that the server refuses; report it", EXIT_UNAVAILABLE)


class _TooLargeError(Exception):
    """The request was larger than the server takes."""
