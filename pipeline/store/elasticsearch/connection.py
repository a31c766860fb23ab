"""The connection to Elasticsearch 8.19 or 9. No other module imports its client."""

from __future__ import annotations

import logging
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar

import orjson
from elastic_transport import TextApiResponse
from elastic_transport.client_utils import DEFAULT
from elasticsearch import (
    ApiError,
    ConflictError,
    Elasticsearch,
    SerializationError,
    TransportError,
    UnsupportedProductError,
)

from models.json_types import JsonObject
from pipeline.domain.connection_errors import cause_of, printable
from pipeline.domain.errors import Fatal, PipelineError, Transient
from pipeline.store.elasticsearch import templates as names
from pipeline.store.elasticsearch.bulk import ItemVerdict, first_refusal, item_verdicts
from pipeline.store.elasticsearch.refusals import SETUP, TooLargeError, entry_refusal, read, refused, unreachable
from pipeline.store.elasticsearch.stored import Hit, StoredDocument

log = logging.getLogger(__name__)
T = TypeVar("T")
#: An item of a bulk request: the action, and the document that it writes.
Operation = Sequence[JsonObject]
#: Hits per request.
PAGE = 5000
#: Attempts at a write whose document changes between the read and the write.
MAX_ATTEMPTS = 20
#: How long the server keeps the point in time of a search that is read page by page.
_KEEP_ALIVE = "2m"


class Connection:
    """Raises only `Transient` or `Fatal`; safe to use from several threads."""

    def __init__(self, url: str, username: str, password: str, ca_file: str, timeout_s: float) -> None:
        self.url, self._timeout_s = url, timeout_s
        context = _context_trusting(ca_file) if ca_file and url.startswith("https") else DEFAULT
        try:
            self._es = Elasticsearch(
                url,
                basic_auth=(username, password) if username else None,
                request_timeout=timeout_s,
                max_retries=0,
                retry_on_timeout=False,
                ssl_context=context,
            )
        except ValueError as error:
            raise _unusable_url(url, error) from None

    def close(self) -> None:
        self._es.close()

    def call(self, request: Callable[[Elasticsearch], T]) -> T:
        """The result of one request through the client."""
        try:
            found = request(self._es)
        except ApiError as error:
            raise self._translated(error) from None
        except SerializationError as error:
            raise self._not_an_answer() from error
        except TransportError as error:
            raise unreachable(self.url, cause_of(error), self._timeout_s) from error
        except ValueError as error:
            if type(error).__module__.startswith("urllib3"):  # the host cannot be a name
                raise _unusable_url(self.url, error) from None
            raise
        if isinstance(found, TextApiResponse):
            raise self._not_an_answer()
        return found

    def _not_an_answer(self, expected: str = "JSON") -> Transient:
        remedy = "check the proxy or load balancer in front of Elasticsearch"
        return Transient(f"store {self.url} did not answer with {expected}", 1.0, remedy)

    def get(self, index: str, key: str) -> StoredDocument | None:
        """A document as last written, or None."""
        (found,) = self.entries([{"_index": index, "_id": key}])
        return found

    def put(self, index: str, key: str, document: JsonObject, there: StoredDocument | None) -> bool:
        """Writes a document and makes it visible; returns False if `there` (None: nothing) is no longer stored."""

        def request(es: Elasticsearch) -> bool:
            try:
                if there is None:
                    es.index(index=index, id=key, document=document, refresh=True, op_type="create")
                else:
                    es.index(
                        index=index,
                        id=key,
                        document=document,
                        refresh=True,
                        if_seq_no=there.seq_no,
                        if_primary_term=there.primary_term,
                    )
            except ConflictError:
                return False
            return True

        return self.call(request)

    def bulk(self, operations: list[Operation]) -> list[ItemVerdict]:
        """WRITTEN, CONFLICT or REJECTED for each operation; a request that is too large is split in two."""
        if not operations:
            return []
        lines: list[Any] = [orjson.dumps(line) for operation in operations for line in operation]
        try:
            response: object = self.call(lambda es: es.bulk(operations=lines).body)
            got = item_verdicts(response, len(operations))
        except TooLargeError:
            response, got = None, [ItemVerdict.SPLIT] * len(operations)
        if got.count(ItemVerdict.SPLIT) == len(got):
            if len(operations) == 1:
                return [ItemVerdict.REJECTED]
            half = len(operations) // 2
            return self.bulk(operations[:half]) + self.bulk(operations[half:])
        if ItemVerdict.FATAL in got:
            raise self._bulk_error(response, got, ItemVerdict.FATAL)
        if n_rejected := got.count(ItemVerdict.REJECTED):
            refusal = first_refusal(response, got, ItemVerdict.REJECTED)
            log.warning("store rejected %d of %d documents; the first refusal is %s", n_rejected, len(got), refusal)
        if ItemVerdict.SPLIT in got or ItemVerdict.RETRY in got:
            again = [i for i, v in enumerate(got) if v in {ItemVerdict.SPLIT, ItemVerdict.RETRY}]
            if len(again) == len(operations):
                raise self._bulk_error(response, got, got[again[0]])
            for i, v in zip(again, self.bulk([operations[i] for i in again]), strict=True):
                got[i] = v
        return got

    def _bulk_error(self, response: object, got: list[ItemVerdict], verdict: ItemVerdict) -> PipelineError:
        """The exception for a bulk request whose items with `verdict` were not written."""
        refusal = first_refusal(response, got, verdict)
        error = refused(self.url, refusal) if refusal else None
        if isinstance(error, Fatal if verdict is ItemVerdict.FATAL else Transient):
            return error
        reason = f": {refusal}" if refusal else ""
        if verdict is ItemVerdict.FATAL:
            return Fatal(f"store {self.url} refuses writes{reason}", SETUP)
        return Transient(f"store {self.url} wrote none of {len(got)} documents{reason}", retry_after_s=1.0)

    def sources(self, docs: Sequence[JsonObject]) -> list[JsonObject]:
        """The body of each document; raises `Transient` if one cannot be read."""
        if not docs:
            return []
        found = [document.source for document in self.entries(docs) if document]
        if len(found) != len(docs):
            raise Transient(f"store {self.url}: a document that conflicts with a write cannot be read yet")
        return found

    def entries(self, docs: Sequence[JsonObject]) -> list[StoredDocument | None]:
        """Each document, or None if it does not exist; raises if the index of one cannot be read."""
        answer = self.call(lambda es: es.mget(docs=docs))["docs"]
        for entry in answer:
            if isinstance(error := entry.get("error"), dict):
                raise refused(self.url, entry_refusal(error))
        return [StoredDocument.from_json(entry) for entry in answer]

    def search(self, *, index: str = names.POSTS, **body: Any) -> Any:
        """The answer to a search; it leaves out indices of posts that an operator has closed, but no other index."""
        found = self.call(lambda es: es.search(index=index, ignore_unavailable=index == names.POSTS, **body))
        if "hits" not in found:
            raise self._not_an_answer("search results")
        return found

    def hits(self, index: str, limit: int, **search: Any) -> list[Hit]:
        """The first `limit` hits of a search; more than one page is read at one point in time."""
        if limit > PAGE:
            return list(islice(self.scan(index, **search), min(limit, sys.maxsize)))
        return [Hit.from_json(hit) for hit in self.search(index=index, size=limit, **search)["hits"]["hits"]]

    def alternatives(self, index: str) -> list[str]:
        """The indices behind a name: the index itself, those of the alias, or none if nothing has that name."""
        found = self.call(lambda es: es.options(ignore_status=404).indices.get_alias(index=index)).body
        return [] if found.get("status") == 404 else sorted(found)

    def scan(self, index: str, **search: Any) -> Iterator[Hit]:
        """All hits of a search at one point in time, read page by page."""
        pit = self.call(lambda es: es.open_point_in_time(index=index, keep_alive=_KEEP_ALIVE))["id"]
        after: list[Any] | None = None
        try:
            while True:
                hits = self.call(
                    lambda es, after=after: es.search(  # type: ignore[misc]
                        pit={"id": pit, "keep_alive": _KEEP_ALIVE}, size=PAGE, search_after=after, **search
                    )
                )["hits"]["hits"]
                yield from map(Hit.from_json, hits)
                if len(hits) < PAGE:
                    break
                after = hits[-1]["sort"]
        finally:  # also if the caller stops early; otherwise the server would keep it for a while
            with suppress(Fatal, Transient):
                self.call(lambda es: es.close_point_in_time(id=pit))

    def _translated(self, error: ApiError) -> Exception:
        if isinstance(error, UnsupportedProductError):
            return Fatal(
                f"store {self.url} answers, but not as Elasticsearch 8 or 9",
                "correct store.url, which leads to OpenSearch, a proxy or another service",
            )
        return refused(self.url, read(error.meta.status, error.body))


def _context_trusting(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is a subclass
        reason = "it does not hold a certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise Fatal(f"store.ca_file {ca_file} cannot be read: {reason}", "set store.ca_file to a PEM file") from None


def _unusable_url(url: str, error: ValueError) -> Fatal:
    return Fatal(
        f"store.url {url} cannot be used: {printable(str(error), 160)}", "write it as http(s)://[user@]host:port"
    )
