"""What stands in the way of the store's server is told apart, by the client that is really used."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.domain.errors import Fatal, PipelineError, Transient
from pipeline.store.elasticsearch.bulk import ItemVerdict
from pipeline.store.elasticsearch.connection import Connection
from pipeline.store.elasticsearch.refusals import TooLargeError
from tests.services.process import free_port

PRODUCT = "X-Elastic-Product: Elasticsearch\r\n"


@contextmanager
def server(answer: Callable[[bytes], str | None], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """One answer to each connection (None: none at all); the port."""
    listener, held = socket.create_server(("127.0.0.1", 0)), []

    def serve() -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            try:
                stream = context.wrap_socket(stream, server_side=True) if context else stream
                stream.settimeout(5)
                if (text := answer(whole(stream))) is None:
                    held.append(stream)
                    continue
                stream.sendall(text.encode())
                stream.close()
            except OSError:
                stream.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        for stream in held:
            stream.close()


def whole(stream: socket.socket) -> bytes:
    """A request with its body, or the first bytes of what is no HTTP."""
    got = b""
    while piece := stream.recv(65536):
        got += piece
        head, found, body = got.partition(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), b":0")
        if got.startswith(b"\x16") or (found and len(body) >= int(length.split(b":")[1])):
            break
    return got


def http(status: str, body: str = "", kind: str = "text/html", more: str = "") -> str:
    length = f"Content-Length: {len(body)}\r\nConnection: close\r\n"
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}{length}\r\n{body}"


def problem(url: str, ca_file: str = "") -> PipelineError:
    connection = Connection(url, "", "", ca_file, timeout_s=1.0)
    with pytest.raises(PipelineError) as caught:
        connection.call(lambda es: es.cluster.health())
    connection.close()
    return caught.value


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (http("408 Request Timeout", "<h1>408 Request Time-out</h1>"), Transient, ["408 Request Time-out"]),
        (http("502 Bad Gateway", "<title>502 Bad Gateway</title>"), Transient, ["502 Bad Gateway"]),
        (http("504 Gateway Timeout"), Transient, ["504"]),
        (http("404 Not Found", "<h1>Not here</h1>"), Fatal, ["Not here", "store.url"]),
        (http("403 Forbidden", "<h1>Policy 7</h1>"), Fatal, ["Policy 7", "proxy"]),
        (http("301 Moved", more="Location: https://elsewhere/\r\n"), Fatal, ["redirected"]),
        (http("200 OK", "{}", "application/json"), Fatal, ["not as Elasticsearch", "store.url"]),
        (http("200 OK", "<html>", "application/json", PRODUCT), Transient, ["JSON"]),
        (http("200 OK", "<h1>Sign in</h1>", "text/html", PRODUCT), Transient, ["JSON", "in front of Elasticsearch"]),
        (http("413 Too Large", "<h1>413</h1>"), TooLargeError, ["413", "http.max_content_length", "proxy"]),
        ("SSH-2.0-OpenSSH_9\r\n", Transient, ["cannot be reached"]),
        ("", Transient, ["closed the connection", "https://"]),
        (None, Transient, ["did not answer within 1 s", "store.timeout_s"]),
    ],
)
def test_answers_that_are_none_of_elasticsearch(
    answer: str | None, kind: type[PipelineError], words: list[str]
) -> None:
    with server(lambda _: answer) as port:
        got = problem(f"http://127.0.0.1:{port}")
    assert type(got) is kind
    for word in words:
        assert word in str(got)


def test_a_search_that_finds_nothing_like_hits_is_tried_again() -> None:
    with server(lambda _: http("200 OK", "{}", "application/json", PRODUCT)) as port:
        connection = Connection(f"http://127.0.0.1:{port}", "", "", "", 5.0)
        with pytest.raises(Transient, match="did not answer with search results"):
            connection.search()
        connection.close()


def test_nobody_there_and_no_such_host() -> None:
    assert "refused" in str(problem(f"http://127.0.0.1:{free_port()}"))
    assert "has no address" in str(problem("http://no-such-host.invalid:9200"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of another name that signs itself."""
    folder = tmp_path_factory.mktemp("tls")
    made = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=es.example -addext subjectAltName=DNS:es.example"
    subprocess.run(
        ["openssl", *made.split(), "-keyout", "key.pem", "-out", "ca.pem"], cwd=folder, check=True, capture_output=True
    )
    return folder


def test_each_fault_of_tls_has_its_remedy(authority: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "ca.pem", authority / "key.pem")
    health = http("200 OK", "{}", "application/json", PRODUCT)
    with server(lambda _: health, context) as port:
        unknown = problem(f"https://127.0.0.1:{port}")
        other_name = problem(f"https://127.0.0.1:{port}", str(authority / "ca.pem"))
        in_plain = problem(f"http://127.0.0.1:{port}")
    with server(lambda _: http("400 Bad Request")) as port:
        no_tls = problem(f"https://127.0.0.1:{port}")
    for got, kind, word in (
        (unknown, Fatal, "self-signed"),
        (other_name, Fatal, "127.0.0.1"),
        (no_tls, Fatal, "http://"),
        (in_plain, Transient, "https://"),
    ):
        assert type(got) is kind, got
        assert word in str(got)
    assert isinstance(unknown, Fatal)
    assert "store.ca_file" in unknown.remedy
    (authority / "text.pem").write_text("no certificate")
    with pytest.raises(Fatal, match=r"store\.ca_file.*PEM"):
        Connection("https://127.0.0.1:1", "", "", str(authority / "text.pem"), 1.0)


def test_one_document_that_is_too_large_is_given_up_and_the_others_are_written() -> None:
    def answer(asked: bytes) -> str:
        items = [line for line in asked.split(b"\n") if line.startswith(b'{"index"')]
        if b"large" in asked and len(items) > 1:
            return http("413 Request Entity Too Large")
        status = 413 if b"large" in asked else 201
        body = f'{{"items": [{", ".join(f"""{{"index": {{"status": {status}}}}}""" for _ in items)}]}}'
        return http("200 OK", body, "application/json", PRODUCT)

    with server(answer) as port:
        connection = Connection(f"http://127.0.0.1:{port}", "", "", "", 5.0)
        got = connection.bulk([[{"index": {"_id": str(i)}}, {"text": "large" if i == 2 else "x"}] for i in range(4)])
        connection.close()
    assert got == [ItemVerdict.WRITTEN, ItemVerdict.WRITTEN, ItemVerdict.REJECTED, ItemVerdict.WRITTEN]
