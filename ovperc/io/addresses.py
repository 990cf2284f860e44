"""Downloading images from http(s) addresses that strangers may have chosen."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from ovperc.core.errors import ImageError

_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
_SECRET_FIELD = re.compile(
    r"([?&;][\w.-]*(?:auth|credential|key|pass|pwd|secret|session|sig|token)[\w.-]*=)[^&#;]*", re.IGNORECASE
)
_PIECE_BYTES = 2**16


@dataclass(frozen=True)
class AddressLimits:
    """What a download may take.

    Attributes:
        max_bytes: most bytes of a file.
        total_s: most seconds from the connection to the last byte, redirects included.
        idle_s: most seconds without an answer.
        public_only: refuse servers in private, loopback and link-local networks, also behind redirects and names;
            for programs whose addresses come from others. Proxies are not used then.
    """

    max_bytes: int = 64 * 2**20
    total_s: float = 60.0
    idle_s: float = 20.0
    public_only: bool = False


def is_address(source: Any) -> bool:
    """Whether a source is a string that starts with ``http://`` or ``https://``."""
    return isinstance(source, str) and _ADDRESS.match(source) is not None


def has_other_scheme(source: Any) -> bool:
    """Whether a source is a string with another scheme, such as ``file:/`` or ``ftp://``."""
    return isinstance(source, str) and not is_address(source) and _OTHER_SCHEME.match(source) is not None


def without_credentials(address: str) -> str:
    """An address fit for messages and results: no user, no password, and no values of secret query fields."""
    scheme, _, rest = address.partition("://")
    end = re.search(r"[/?#]", rest)
    host, path = (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])
    shown = _SECRET_FIELD.sub(r"\1***", path)
    return f"{scheme}://{host.rpartition('@')[2]}{shown}"


def download(address: str, limits: AddressLimits | None = None) -> bytes:
    """The content behind an ``http(s)`` address; redirects stay within ``http(s)``.

    A user and password in the address are sent as basic authentication, to the first server alone.

    Raises:
        ImageError: no answer, not in time, too large, not HTTP, or a network that is not allowed.
    """
    limits = limits or AddressLimits()
    transfer = _Transfer(limits)
    name = repr(without_credentials(address))
    try:
        with transfer.running():
            return transfer.read(_request(address))
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause: Any = getattr(error, "reason", None) or error
        if transfer.expired:
            cause = f"not complete after {limits.total_s:g} s"
        elif isinstance(error, http.client.InvalidURL) or not str(cause):
            cause = type(error).__name__
        raise ImageError(f"cannot download {name}: {cause}; check the address and the network, or pass a file") from (
            None if "@" in address else error  # a traceback would print the password
        )


def _request(address: str) -> urllib.request.Request:
    parts = urlsplit(address)
    credentials, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(urlunsplit(parts._replace(netloc=host)), headers={"User-Agent": "ovperc"})
    if credentials:
        token = base64.b64encode(unquote(credentials).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


class _Transfer:
    """One download: its connections are closed when its time is over."""

    def __init__(self, limits: AddressLimits) -> None:
        self.limits = limits
        self.expired = False
        self._sockets: list[socket.socket] = []

    def running(self) -> _Deadline:
        return _Deadline(self.limits.total_s, self._expire)

    def read(self, request: urllib.request.Request) -> bytes:
        most = self.limits.max_bytes
        with self._opener().open(request, timeout=self.limits.idle_s) as response:
            content = bytearray()
            while piece := response.read(_PIECE_BYTES):
                content += piece
                if len(content) > most:
                    raise ValueError(f"it has more than {most} bytes")
            missing = response.length  # bytes that were announced and did not come
        if self.expired or missing:
            raise ValueError("the connection ended before the file did")
        return bytes(content)

    def connected(self, connection: socket.socket) -> None:
        """Called with each new connection before anything is requested over it.

        Raises:
            OSError: the server is in a network that is not allowed.
        """
        peer = ipaddress.ip_address(connection.getpeername()[0].partition("%")[0])
        peer = getattr(peer, "ipv4_mapped", None) or peer
        if self.limits.public_only and (not peer.is_global or peer.is_multicast):
            connection.close()
            raise OSError("its server is not on the public internet")
        self._sockets.append(connection)

    def _opener(self) -> urllib.request.OpenerDirector:
        opener = urllib.request.OpenerDirector()
        handlers = [
            _HTTPHandler(self.connected),
            _HTTPSHandler(self.connected),
            _RedirectHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.UnknownHandler(),
        ]
        if not self.limits.public_only:
            handlers.append(urllib.request.ProxyHandler())
        for handler in handlers:
            opener.add_handler(handler)
        return opener

    def _expire(self) -> None:
        self.expired = True
        for connection in self._sockets:
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)


class _Deadline:
    """Calls a function unless the block ends in time."""

    def __init__(self, seconds: float, expire: Callable[[], None]) -> None:
        self._timer = threading.Timer(seconds, expire)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


class _ReportedConnection(http.client.HTTPConnection):
    """Tells of its socket once it is connected.

    Args:
        connected: called with the socket before anything is sent over it, but for the handshake of HTTPS.
    """

    def __init__(self, *arguments: Any, connected: Callable[[socket.socket], None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._connected = connected

    def connect(self) -> None:
        super().connect()
        self._connected(self.sock)


class _ReportedTLSConnection(_ReportedConnection, http.client.HTTPSConnection):
    pass


class _HTTPHandler(urllib.request.HTTPHandler):
    def __init__(self, connected: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._connected = connected

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(partial(_ReportedConnection, connected=self._connected), req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def __init__(self, connected: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._connected = connected

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(partial(_ReportedTLSConnection, connected=self._connected), req)


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not is_address(newurl):
            raise urllib.error.URLError("it redirects to an address that is not http or https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
