"""The HTTP core: a body that ends early is an error, everything is bounded, and nothing breaks out of a header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bushel.client.http1 import (
    MOST_HEAD_BYTES,
    Address,
    ConnectionLost,
    Patience,
    ProtocolViolation,
    ResponseParser,
    TimedOut,
    encode_head,
    query,
    quote,
)

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello world"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: x\r\n\r\n"


def parse(data: bytes, cuts: list[int], method: str = "GET") -> tuple[ResponseParser, bytes]:
    parser, body, at = ResponseParser(method), b"", 0
    for cut in [*sorted(cuts), len(data)]:
        body += parser.feed(data[at:cut])
        at = max(at, cut)
    return parser, body


@given(st.sampled_from([PLAIN, CHUNKED]), st.lists(st.integers(0, 120), max_size=12))
def test_an_answer_is_the_same_however_its_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    parser, body = parse(data, [min(cut, len(data)) for cut in cuts])
    assert parser.complete
    assert (parser.status, body) == (200, b"hello world")


@given(st.sampled_from([PLAIN, CHUNKED]), st.integers(0, 200))
def test_an_answer_that_ends_early_is_an_error_never_a_short_body(data: bytes, length: int) -> None:
    parser, _ = parse(data[: min(length, len(data) - 1)], [])
    assert not parser.complete
    with pytest.raises(ConnectionLost):
        parser.end()


@given(st.binary(max_size=400))
def test_any_bytes_are_an_answer_or_an_error(data: bytes) -> None:
    parser = ResponseParser("GET")
    try:
        parser.feed(data)
        parser.feed(data)
    except ProtocolViolation:
        return
    assert parser.status or not parser.complete


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * (MOST_HEAD_BYTES + 10),
        b"HTTP/1.1 20x OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_is_not_clear_http_is_refused(answer: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        ResponseParser("GET").feed(answer)


def test_interim_answers_are_passed_over() -> None:
    parser, body = parse(b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN, [])
    assert (parser.status, body, parser.headers["x-a"]) == (200, b"hello world", "1, 2")


def test_answers_without_a_body_are_complete_with_their_head() -> None:
    assert parse(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", [], "HEAD")[0].complete
    assert parse(b"HTTP/1.1 204 No Content\r\n\r\n", [])[0].complete


def test_bytes_after_the_answer_spoil_the_connection() -> None:
    parser, _ = parse(PLAIN + b"HTTP/1.1 200 OK\r\n", [])
    assert parser.complete
    assert not parser.keep_alive


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_breaks_out_of_its_header_or_path(name: str, value: str) -> None:
    address = Address("http://h:1")
    try:
        head = encode_head(address, "GET", "/" + quote(value), {name: value}, 0)
    except (ValueError, UnicodeEncodeError):
        return
    assert head.count(b"\r\n") == 5
    assert head.count(b"\n") == 5


def test_addresses() -> None:
    assert Address("https://bushel.example/prefix/").prefix == "/prefix"
    assert Address("https://bushel.example").port == 443
    assert Address("http://[::1]:7077").host == "::1"
    assert Address("http://[::1]:7077").host_header == "[::1]:7077"
    for wrong in ("bushel.example", "ftp://x", "http://", "http://user@x", "http://x:99999", "http://x:y", "http://a b"):
        with pytest.raises(ValueError, match="http"):
            Address(wrong)


def test_queries() -> None:
    assert query([("a", None), ("b", True), ("c", "x y&z"), ("d", "acme/vision")]) == "?b=true&c=x%20y%26z&d=acme/vision"
    assert query([("a", None)]) == ""


@given(st.floats(0, 100), st.floats(0, 100))
def test_patience_ends(patience_seconds: float, timeout_seconds: float) -> None:
    patience, now = Patience(0.0, patience_seconds=patience_seconds, timeout_seconds=timeout_seconds), 0.0
    for _ in range(1000):
        pause = patience.pause(now)
        if pause is None:
            break
        now += pause
    assert now <= min(patience_seconds, timeout_seconds)
    with pytest.raises(TimedOut):
        patience.remaining(timeout_seconds + 0.001)
