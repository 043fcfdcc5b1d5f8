"""HTTP/1.1 without any input or output: bytes of a request out of its parts, parts of a response out of its bytes.

Guarantees: a body that ends early is an error, never a short body; everything that the other side sends is bounded
before it is kept; nothing a caller passes can break out of its header line. What moves the bytes is elsewhere, once for
threads (`transport`) and once for asyncio (`async_transport`).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_HEAD_BYTES = 64 * 1024
MOST_HEADERS = 200
MOST_BODY_BYTES = 256 * 1024 * 1024
"""Of a body that is kept in memory; streams have no limit of their own."""

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class TransportFailure(Exception):
    """The exchange broke; whether the request had its effect is not known unless a subclass says so."""


class NotConnected(TransportFailure):
    """The server was never reached, so the request had no effect."""


class ConnectionLost(TransportFailure):
    """The connection broke before the whole answer was there."""


class TimedOut(TransportFailure):
    """The answer did not come within its time."""


class ProtocolViolation(TransportFailure):
    """What came back is not an HTTP answer, or is past a limit."""


def reason_of(error: OSError) -> str:
    """`connection refused`, whoever raised it."""
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)


class Address:
    """The parts of `http[s]://host[:port][/prefix]`."""

    __slots__ = ("host", "port", "prefix", "secure", "url")

    def __init__(self, url: str) -> None:
        scheme, separator, rest = url.strip().partition("://")
        if not separator or scheme not in ("http", "https"):
            raise ValueError(f"{url!r} is not an address such as http://127.0.0.1:7077")
        authority, slash, path = rest.partition("/")
        if "@" in authority or not authority or any(letter.isspace() or letter in "?#" for letter in rest):
            raise ValueError(f"{url!r} is not an address such as http://127.0.0.1:7077")
        self.secure = scheme == "https"
        self.prefix = (slash + path).rstrip("/")
        if authority.startswith("["):
            host, _, port = authority[1:].partition("]")
            port = port.removeprefix(":")
        else:
            host, _, port = authority.partition(":")
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"{url!r} has no such port")
        self.host = host
        self.port = int(port) if port else (443 if self.secure else 80)
        self.url = f"{scheme}://{authority}{self.prefix}"

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def quote(text: str, *, keep: str = "") -> str:
    """Percent-encode all but unreserved characters and those in `keep`."""
    kept = _UNRESERVED | frozenset(keep.encode())
    return "".join(chr(byte) if byte in kept else f"%{byte:02X}" for byte in text.encode())


def query(parameters: Iterable[tuple[str, object]]) -> str:
    """`?a=1&b=x`, or nothing. A value that is None is left out; true and false are written as in JSON."""
    pairs = []
    for name, value in parameters:
        if value is None:
            continue
        text = ("true" if value else "false") if isinstance(value, bool) else str(value)
        pairs.append(f"{quote(name)}={quote(text, keep='/:,')}")
    return "?" + "&".join(pairs) if pairs else ""


def new_idempotency_key() -> str:
    return os.urandom(16).hex()


def encode_head(address: Address, method: str, path: str, headers: Mapping[str, str], body_bytes: int | None) -> bytes:
    """The head of a request for `path`, which starts with `/` and is already encoded.

    Raises:
        ValueError: a header or the path holds a character that may not stand there.
    """
    target = address.prefix + path
    if not path.startswith("/") or not target.isascii() or any(letter <= " " or letter == "\x7f" for letter in target):
        raise ValueError(f"{path!r} is not a path")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {address.host_header}"]
    for name, value in headers.items():
        if not name or not _TOKEN.issuperset(name) or any(letter in "\r\n\0" for letter in value):
            raise ValueError(f"the header {name!r} cannot be sent")
        lines.append(f"{name}: {value}")
    if body_bytes is not None:
        lines.append(f"Content-Length: {body_bytes}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class ResponseParser:
    """Feed it what arrives. `status` and `headers` are set once the head is there, `complete` once the body is.

    `headers` has lower-case names; of a name that comes twice the values are joined by a comma.
    """

    __slots__ = ("_buffer", "_chunked", "_left", "_method", "_state", "complete", "headers", "keep_alive", "status")

    def __init__(self, method: str) -> None:
        self._method = method
        self._buffer = bytearray()
        self._state = "head"
        self._left = 0
        self._chunked = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.keep_alive = True
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body that `data` adds.

        Raises:
            ProtocolViolation: this is not HTTP, or more than the limits allow.
        """
        self._buffer += data
        out = bytearray()
        while self._step(out):
            pass
        return bytes(out)

    def end(self) -> None:
        """The other side closed the connection.

        Raises:
            ConnectionLost: the answer was not complete.
        """
        if not self.complete:
            raise ConnectionLost(
                "the connection ended in the middle of an answer" if self.status else "the connection ended without an answer"
            )

    def _step(self, out: bytearray) -> bool:
        """Do one thing with what is buffered; False when more bytes are needed or nothing is left to do."""
        if self.complete:
            if self._buffer:  # bytes that nobody asked for: the connection cannot be trusted again
                self.keep_alive = False
                self._buffer.clear()
            return False
        if self._state == "head":
            return self._step_head()
        if self._state == "body":
            return self._step_body(out)
        if self._state == "size":
            return self._step_size()
        if self._state == "gap":
            return self._step_gap()
        return self._step_trailer()

    def _line(self, limit: int, what: str) -> bytes | None:
        end = self._buffer.find(b"\r\n", 0, limit + 2)
        if end < 0:
            if len(self._buffer) > limit:
                raise ProtocolViolation(f"{what} is longer than {limit} bytes")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _step_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n", 0, MOST_HEAD_BYTES + 4)
        if end < 0:
            if len(self._buffer) > MOST_HEAD_BYTES:
                raise ProtocolViolation(f"the head of the answer is longer than {MOST_HEAD_BYTES} bytes")
            if len(self._buffer) >= 5 and not self._buffer.startswith(b"HTTP/"):
                raise ProtocolViolation("what answers does not speak HTTP")
            return False
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        version, _, rest = lines[0].partition(" ")
        code = rest[:3]
        if version not in ("HTTP/1.1", "HTTP/1.0") or not (code.isascii() and code.isdigit() and len(code) == 3):
            raise ProtocolViolation("what answers does not speak HTTP/1.1")
        headers = _parse_headers(lines[1:])
        if 100 <= int(code) < 200:  # an interim answer: the real one follows
            return True
        self.status, self.headers = int(code), headers
        connection = headers.get("connection", "").lower()
        self.keep_alive = "close" not in connection and (version == "HTTP/1.1" or "keep-alive" in connection)
        self._frame()
        return True

    def _frame(self) -> None:
        """Decide how the body ends. One that only ends with the connection is refused: its loss could not be told from its end."""
        coding, length = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        if self._method == "HEAD" or self.status in (204, 304):
            self.complete = True
        elif coding is not None:
            if coding.strip().lower() != "chunked" or length is not None:
                raise ProtocolViolation("the answer's body has no clear length")
            self._chunked, self._state = True, "size"
        elif length is not None:
            lengths = {part.strip() for part in length.split(",")}
            text = lengths.pop()
            if lengths or not (text.isascii() and text.isdigit() and len(text) < 19):
                raise ProtocolViolation("the answer's body has no clear length")
            self._left, self._state = int(text), "body"
            self.complete = self._left == 0
        else:
            raise ProtocolViolation("the answer's body has no length")

    def _step_body(self, out: bytearray) -> bool:
        if not self._buffer:
            return False
        taken = min(self._left, len(self._buffer))
        out += self._buffer[:taken]
        del self._buffer[:taken]
        self._left -= taken
        if self._left == 0:
            if self._chunked:
                self._state = "gap"
            else:
                self.complete = True
        return True

    def _step_size(self) -> bool:
        line = self._line(1024, "a chunk's size")
        if line is None:
            return False
        text = line.partition(b";")[0].strip()
        if not text or len(text) > 15 or not all(letter in b"0123456789abcdefABCDEF" for letter in text):
            raise ProtocolViolation("a chunk of the answer has no size")
        self._left = int(text, 16)
        self._state = "body" if self._left else "trailer"
        return True

    def _step_gap(self) -> bool:
        line = self._line(2, "the end of a chunk")
        if line is None:
            return False
        if line:
            raise ProtocolViolation("a chunk of the answer is longer than it says")
        self._state = "size"
        return True

    def _step_trailer(self) -> bool:
        line = self._line(MOST_HEAD_BYTES, "a trailer")
        if line is None:
            return False
        self.complete = not line
        return True


def _parse_headers(lines: list[str]) -> dict[str, str]:
    if len(lines) > MOST_HEADERS:
        raise ProtocolViolation(f"the answer has more than {MOST_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        name, separator, value = line.partition(":")
        if not separator or not name or not _TOKEN.issuperset(name) or "\0" in value:
            raise ProtocolViolation("the answer has a malformed header")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class Patience:
    """When to send a request again after a failure, and when to give up: doubling pauses within `patience_seconds`."""

    __slots__ = ("_deadline", "_pause", "_until")

    FIRST_PAUSE_SECONDS = 0.05
    LONGEST_PAUSE_SECONDS = 2.0

    def __init__(self, now: float, *, patience_seconds: float, timeout_seconds: float) -> None:
        self._until = now + min(patience_seconds, timeout_seconds)
        self._deadline = now + timeout_seconds
        self._pause = self.FIRST_PAUSE_SECONDS

    def remaining(self, now: float) -> float:
        """Seconds left of the whole call.

        Raises:
            TimedOut: none are.
        """
        left = self._deadline - now
        if left <= 0:
            raise TimedOut("no answer within the time given")
        return left

    def pause(self, now: float, *, asked_seconds: float = 0.0) -> float | None:
        """Seconds to wait before the next try, at least what the server asked for; None to give up."""
        pause = max(self._pause * (0.5 + os.urandom(1)[0] / 510), asked_seconds)  # between half and the whole of it
        self._pause = min(self._pause * 2, self.LONGEST_PAUSE_SECONDS)
        return pause if now + pause < self._until else None


def asked_pause_seconds(status: int, headers: Mapping[str, str]) -> float | None:
    """How long an answer asks to wait before the same request is sent again; None if it does not ask for that."""
    if status != 503:
        return None
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
