"""What receivers say, and where they may lie: vendors' codes, TLS, URLs with typing errors, private addresses."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.notify.channels.answers import (
    DINGTALK,
    FEISHU,
    MAX_WORDS,
    WECOM,
    Answer,
    Vendor,
    judge,
    judge_slack,
    judge_vendor,
    quoted,
)
from pipeline.alerting.notify.channels.http import Poster, is_public
from pipeline.alerting.notify.channels.mail import MailChannel
from pipeline.alerting.notify.channels.smtp import MailServer
from pipeline.alerting.notify.factory import check_channels, make_channels
from pipeline.cli.alerts.example import example_alert
from pipeline.cli.check.checks import _channels
from pipeline.domain.errors import Fatal, Transient
from pipeline.settings import AlertSettings, ChannelSettings, Settings

TOKEN = "T0KEN-of-the-test"  # noqa: S105
LOGIN_PAGE = "\n <!DOCTYPE html><html><title>Sign in</title></html>"


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(
    ("vendor", "body"),
    [
        (DINGTALK, '{"errcode":130101,"errmsg":"send too fast, exceed 20 times per minute"}'),
        (DINGTALK, '{"errcode":-1,"errmsg":"系统繁忙"}'),
        (DINGTALK, '{"errcode":90030,"errmsg":"webhook over limit"}'),
        (FEISHU, '{"code":11232,"msg":"frequency limited"}'),
        (FEISHU, '{"code":9499,"msg":"too many request"}'),
        (FEISHU, '{"code":99991400,"msg":"request trigger frequency limit"}'),
        (WECOM, '{"errcode":45009,"errmsg":"api freq out of limit"}'),
        (WECOM, '{"errcode":-1,"errmsg":"system busy"}'),
    ],
)
def test_a_busy_code_counts_as_busy_whatever_the_status(vendor: Vendor, body: str, status: int) -> None:
    with pytest.raises(Transient, match="busy") as busy:
        judge_vendor("c", Answer(status, body), vendor)
    assert busy.value.retry_after_s == 15.0
    with pytest.raises(Transient) as asked:
        judge_vendor("c", Answer(status, body, 90.0), vendor)
    assert asked.value.retry_after_s == 90.0


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    ("vendor", "body", "words"),
    [
        (DINGTALK, '{"errcode":310000,"errmsg":"keywords not in content"}', "310000, keywords not in content"),
        (FEISHU, '{"code":9499,"msg":"Bad Request"}', "9499, Bad Request"),
        (FEISHU, '{"code":19021,"msg":"sign match fail"}', "19021, sign match fail"),
        (FEISHU, '{"code":19024,"msg":"Key Words Not Found"}', "19024"),
        (WECOM, '{"errcode":93000,"errmsg":"invalid webhook url"}', "93000, invalid webhook url"),
    ],
)
def test_a_refusal_is_in_the_vendors_own_words(vendor: Vendor, body: str, words: str, status: int) -> None:
    with pytest.raises(Fatal, match=words):
        judge_vendor("c", Answer(status, body), vendor)


@pytest.mark.parametrize("body", ["", "null", "[]", "ok", LOGIN_PAGE, '{"errcode":"0"}', '{"errcode":true}', "{}"])
def test_only_what_a_vendor_documents_as_success_is_success(body: str) -> None:
    for vendor in (DINGTALK, FEISHU, WECOM):
        with pytest.raises(Fatal):
            judge_vendor("c", Answer(200, body), vendor)
        judge_vendor("c", Answer(200, f'{{"{vendor.code}": 0}}'), vendor)
        with pytest.raises(Transient):
            judge_vendor("c", Answer(502, f'{{"{vendor.code}": 0}}'), vendor)
    if body != "ok":
        with pytest.raises(Fatal):
            judge_slack("c", Answer(200, body))
    judge_slack("c", Answer(200, "ok"))


def test_slack_says_why_not_in_a_word() -> None:
    with pytest.raises(Fatal, match="404, no_service"):
        judge_slack("c", Answer(404, "no_service"))
    with pytest.raises(Transient):
        judge_slack("c", Answer(500, "rollup_error"))
    with pytest.raises(Transient) as limited:
        judge_slack("c", Answer(429, "rate_limited", 30.0))
    assert limited.value.retry_after_s == 30.0


def test_a_web_page_is_no_receipt() -> None:
    judge("c", Answer(200, ""))
    judge("c", Answer(204, ""))
    judge("c", Answer(200, "ok"))
    with pytest.raises(Fatal, match="web page"):
        judge("c", Answer(200, LOGIN_PAGE))


@given(
    st.integers(100, 599),
    st.one_of(
        st.text(max_size=300),
        st.builds(
            '{{"errcode": {}, "code": {}, "errmsg": {}}}'.format,
            *[st.sampled_from(["0", "-1", "1e999", "null", "[]", "{}", '"\\u0000"', "1" * 5000])] * 3,
        ),
    ),
    st.none() | st.floats(0, 1e6),
)
@example(200, "[" * 60_000, None)
def test_whatever_comes_is_taken_busy_or_refused(status: int, text: str, wait_s: float | None) -> None:
    answer = Answer(status, text, wait_s)
    for verdict in (
        lambda: judge("c", answer),
        lambda: judge_slack("c", answer),
        *(lambda v=v: judge_vendor("c", answer, v) for v in (DINGTALK, FEISHU, WECOM)),
    ):
        try:
            verdict()
            assert 200 <= status < 300
        except Transient as error:
            assert error.retry_after_s >= 0.05
            assert str(error).isprintable()
        except Fatal as error:
            assert str(error).isprintable()
            assert len(str(error)) < 2 * MAX_WORDS + 200


def test_words_are_one_line_and_short() -> None:
    assert quoted("a\r\nb\x1b]0;evil\x07\u202ec") == "a bc"
    assert len(quoted("x" * 10_000)) == MAX_WORDS


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://hooks..slack.com/x", "empty label"),
        ("https://" + "a" * 64 + ".example/x", "more than 63"),
        ("https://hooks.example:99999/x", "port"),
        ("https://hooks.example:0/x", "port"),
        ("https://hooks.example:http/x", "port"),
        ("https:///x", "no host"),
        ("https://hooks.example/x\n", "line break"),
        (" https://hooks.example/x", "space"),
        ("https://[::1/x", "malformed host"),
        ("https://-hooks.example/x", "is not valid in a host name"),
        ("https://ho oks.example/x", "space"),
        ("https://300.1.2.3/x", "neither a name nor an address"),
        ("https://" + ".".join(["a" * 60] * 5) + "/x", "longer than 253"),
        ("https://诺\u3002\u3002瓦.example/x", "label"),
        ("ftp://hooks.example/x", "https://"),
    ],
)
@pytest.mark.parametrize("kind", ["webhook", "slack", "alertmanager"])
def test_a_url_with_a_typing_error_is_refused_by_the_settings(kind: str, url: str, problem: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ChannelSettings(name="oncall", kind=kind, url=url)  # type: ignore[arg-type]
    (error,) = refused.value.errors()
    assert error["loc"] == ("url",)
    assert problem in error["msg"]
    assert "channel oncall" in error["msg"]
    with pytest.raises(Fatal, match="channel oncall"):
        Poster("oncall", url, allow_private=True)


@pytest.mark.parametrize(
    "url",
    ["https://a.example", "http://alertmanager:9093/x?y=z", "https://[2606:4700::1111]:8443/", "https://诺瓦.cn./x"],
)
def test_sound_urls_pass(url: str) -> None:
    ChannelSettings(name="a", kind="slack", url=url)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"host": "mail..example"}, {"host": "x" * 64}, {"to": ["a@b\r\nBcc: c@d"]}, {"sender": "nobody"}]
)
def test_hosts_and_addresses_of_mail_are_refused_by_the_settings(wrong: dict[str, Any]) -> None:
    ChannelSettings(name="m", kind="email", sender="Watch <watch@example.org>")
    with pytest.raises(ValidationError, match="channel m"):
        ChannelSettings(name="m", kind="email", **wrong)


@given(st.text(max_size=40), st.sampled_from(["https://{}/x", "{}", "http://a.example:{}/", "https://a.{}.example/"]))
def test_whatever_is_written_as_a_url_is_taken_or_refused_by_name(text: str, form: str) -> None:
    try:
        Poster("c", form.format(text), allow_private=True)
    except Fatal as error:
        assert "channel c" in str(error)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.0", "10.1.2.3", "169.254.169.254", "100.64.0.1", "224.0.0.1", "239.1.1.1",  # noqa: S104
        "::1", "::", "::ffff:127.0.0.1", "::ffff:0:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe",
        "2002:7f00:1::", "2002:a9fe:a9fe::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    ],
)  # fmt: skip
def test_what_is_not_of_the_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_what_is_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


async def _answered(parts: list[bytes], *, hangs: bool = False) -> Answer:
    """What comes of an answer whose body is sent in these parts."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for part in parts:
            await asyncio.sleep(0.02)
            writer.write(part)
        if hangs:
            await reader.read()  # until the other side gives up
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        return await Poster("c", f"http://127.0.0.1:{port}/x", allow_private=True, timeout_s=0.3).post(b"{}")


@pytest.mark.parametrize("hangs", [False, True])
def test_an_answer_in_parts_is_read_to_its_end(hangs: bool) -> None:
    judge_vendor("c", asyncio.run(_answered([b'{"errcode"', b":0,", b'"errmsg":"ok"}'], hangs=hangs)), DINGTALK)
    judge_slack("c", asyncio.run(_answered([b"o", b"k"], hangs=hangs)))
    judge("c", asyncio.run(_answered([b"tak", b"en"], hangs=hangs)))
    with pytest.raises(Fatal, match="web page"):
        judge("c", asyncio.run(_answered([b"<", b"html><title>Sign in"], hangs=hangs)))


def test_an_answer_that_breaks_off_is_neither_yes_nor_no() -> None:
    for judged in (judge_slack, lambda name, answer: judge_vendor(name, answer, WECOM)):
        with pytest.raises(Transient, match="the answer broke off"):
            judged("c", asyncio.run(_answered([b'{"errco'], hangs=True)))


def test_a_receiver_that_repeats_its_token_does_not_put_it_into_the_error() -> None:
    poster = Poster("c", f"https://hooks.example/services/{TOKEN}?access_token={TOKEN}%2F1", allow_private=True)
    assert TOKEN not in poster._without_secrets(f"token {TOKEN} of {TOKEN}/1 is not exist")


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[tuple[int, Path, list[bytes]]]:
    """A mail server with a certificate that it signed itself, for `localhost`; what it was sent."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)  # noqa: S603
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    got: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = server.accept()
                with context.wrap_socket(plain, server_side=True) as connection:
                    answer(connection.makefile("rwb", buffering=0))
            except ssl.SSLError:
                continue
            except OSError:
                return

    def answer(file: Any) -> None:
        file.write(b"220 x\r\n")
        for line in file:
            got.append(line)
            verb = line[:4].upper()
            file.write(
                b"250-x\r\n250 AUTH PLAIN\r\n"
                if verb == b"EHLO"
                else b"235 ok\r\n"
                if verb == b"AUTH"
                else b"450 later\r\n"
            )
            if verb == b"QUIT":
                return

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1], certificate, got
    server.close()


@pytest.mark.parametrize(("host", "trusted"), [("localhost", False), ("localhost", True), ("127.0.0.1", True)])
def test_mail_checks_the_certificate_before_it_logs_in(
    stranger: tuple[int, Path, list[bytes]], host: str, trusted: bool
) -> None:
    port, certificate, got = stranger
    authority = str(certificate) if trusted else ""
    server = MailServer("m", host, port, ca_file=authority, username="user", password="S3cret", tls="tls")  # noqa: S106
    channel = MailChannel("m", server, sender="a@b.c", to=["d@e.f"])
    if trusted and host == "localhost":
        with pytest.raises(Transient):  # it takes the log-in, and knows no more
            asyncio.run(channel.send(Notice("k", "opened", example_alert(datetime.now(UTC)))))
        assert any(line.startswith(b"AUTH") for line in got)
        return
    with pytest.raises(Fatal, match="is not trusted"):
        asyncio.run(channel.send(Notice("k", "opened", example_alert(datetime.now(UTC)))))
    assert not got, "nothing is said to a stranger"


@pytest.mark.parametrize("how", ["send", "check"])
def test_a_certificate_that_is_not_trusted_is_a_refusal(stranger: tuple[int, Path, list[bytes]], how: str) -> None:
    poster = Poster("c", f"https://localhost:{stranger[0]}/{TOKEN}", allow_private=True)
    with pytest.raises(Fatal, match="certificate is not trusted .self-signed certificate.") as refused:
        asyncio.run(poster.check() if how == "check" else poster.post(b"{}"))
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("url", ["https://xn--a.example/x", "https://xn--zz--9.example/x", "https://127.0.0.1:1/x"])
def test_whatever_a_url_does_at_run_time_is_the_channels_failure(url: str) -> None:
    for call in (Poster("c", url, allow_private=True).check, lambda: Poster("c", url, allow_private=True).post(b"{}")):
        with pytest.raises((Fatal, Transient), match="channel c: "):
            asyncio.run(call())


def test_check_names_each_channel_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        settings = AlertSettings(
            channels=[
                {"name": "well", "kind": "webhook", "url": f"http://127.0.0.1:{port}/", "allow_private": True},  # type: ignore[list-item]
                {"name": "private", "kind": "slack", "url": "https://127.0.0.1/x"},  # type: ignore[list-item]
                {"name": "plain", "kind": "slack", "url": "http://hooks.example/x"},  # type: ignore[list-item]
                {"name": "away", "kind": "wecom", "url": "http://127.0.0.1:1/x", "allow_private": True},  # type: ignore[list-item]
                {"name": "unnamed", "kind": "dingtalk", "url_file": str(tmp_path / "none")},  # type: ignore[list-item]
                {"name": "mail", "kind": "email", "host": "127.0.0.1", "port": 1, "sender": "a@b.c", "to": ["d@e.f"]},  # type: ignore[list-item]
                {"name": "pem", "kind": "email", "host": "h", "sender": "a@b.c", "to": ["d@e.f"], "ca_file": "/none"},  # type: ignore[list-item]
                {"name": "reader", "kind": "log"},  # type: ignore[list-item]
            ],
        )
        found = dict(check_channels(settings))
    assert list(found) == ["well", "private", "plain", "away", "unnamed", "mail", "pem", "reader"]
    assert found["well"] is found["reader"] is None
    for name, words in {
        "private": "allow_private", "plain": "https", "away": "check that the receiver is running",
        "unnamed": "mount the file", "mail": "check that the receiver is running", "pem": "ca_file",
    }.items():  # fmt: skip
        assert words in str(found[name]), found[name]
        assert name in str(found[name])


def test_check_names_a_repeated_name_beside_what_else_is_wrong() -> None:
    away = {"name": "a", "kind": "slack", "url": "http://127.0.0.1:1/x", "allow_private": True}
    findings = _channels(Settings(alerts=AlertSettings(channels=[away, {"name": "a", "kind": "log"}])))  # type: ignore[list-item]
    problems = [finding.problem for finding in findings if finding.problem]
    assert len(problems) == 2
    assert problems[1] == "alerts.channels: the name 'a' is given twice"


MAIL = {"kind": "email", "host": "127.0.0.1", "port": 1, "sender": "a@b.c", "to": ["d@e.f"]}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kind": "slack", "url_file": "a\0b"}, "url_file is not the name of a file"),
        ({**MAIL, "ca_file": "a\0b"}, "ca_file ab cannot be used"),
        ({**MAIL, "username": "u"}, "secret is missing"),
    ],
)
def test_what_a_channel_lacks_is_named_at_the_start_and_by_check(wrong: dict[str, Any], words: str) -> None:
    settings = AlertSettings(channels=[{"name": "oncall", **wrong}])  # type: ignore[list-item]
    ((_, problem),) = check_channels(settings)
    assert problem is not None
    assert "oncall" in problem
    assert words in problem
    with pytest.raises(Fatal, match=words):
        make_channels(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": [{"name": "On Call", "kind": "log"}]},
        {"channels": [{"name": "a", "kind": "log", "keys": []}]},
        {"channels": [{"name": "a", "kind": "log", "severities": []}]},
        {"quiet": [{"start": "22:00+02:00", "end": "07:00"}]},
        {"quiet": [{"start": "22:00", "end": "07:00", "days": []}]},
        {"maintenance": [{"start": "2026-01-02T00:00Z", "end": "2026-01-01T00:00Z"}]},
        *({name: float("inf")} for name in ("renotify_s", "calibrate_every_days", "evaluate_every_s", "min_lift")),
        {"renotify_s": 1e300},
        {"calibrate_every_days": 1e300},
    ],
)
def test_settings_under_which_nobody_would_be_told_or_that_end_the_role_later_are_refused(
    wrong: dict[str, Any],
) -> None:
    with pytest.raises(ValidationError):
        AlertSettings(**wrong)
