"""`store.url` becomes a store, or one line says what is wrong with it."""

from __future__ import annotations

import pytest

from pipeline.domain.errors import Fatal, PipelineError
from pipeline.settings import StoreSettings
from pipeline.store.elasticsearch.store import ElasticsearchStore
from pipeline.store.factory import open_store


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "h:99999", "[::1", "h:port"])
def test_an_address_that_no_host_can_have_is_no_bug(host: str) -> None:
    with pytest.raises(PipelineError, match=r"store\.url"):
        open_store(StoreSettings.model_construct(url=f"http://{host}", timeout_s=1.0)).check()


def test_user_and_address_are_taken_apart() -> None:
    store = open_store(StoreSettings(url="http://es%40team@[::1]:9201/es", timeout_s=1.0))
    assert isinstance(store, ElasticsearchStore)
    assert store.connection.url == "http://[::1]:9201/es"


def test_an_authority_that_cannot_be_read_is_named() -> None:
    with pytest.raises(Fatal, match=r"store\.ca_file /no/such\.pem.*No such file"):
        open_store(StoreSettings(url="https://es:9200", ca_file="/no/such.pem"))


@pytest.mark.parametrize(
    ("url", "address"), [("http://es", "http://es:9200"), ("https://ann@es:9243/path", "https://es:9243/path")]
)
def test_the_port_is_that_of_elasticsearch_where_none_is_given(url: str, address: str) -> None:
    store = open_store(StoreSettings(url=url, timeout_s=1.0))
    assert isinstance(store, ElasticsearchStore)
    assert store.connection.url == address
