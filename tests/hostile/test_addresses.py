"""Servers that lie, stall, flood and redirect: each is the failure of its image, in bounded time and memory."""

import base64
import io
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from ovperc.core.errors import ImageError
from ovperc.io.addresses import AddressLimits, download, without_credentials
from ovperc.io.image_sources import expand_sources
from ovperc.io.images import read_image

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
_STREAM = io.BytesIO()
Image.fromarray(RGB).save(_STREAM, "PNG")
PNG = _STREAM.getvalue()
HEAD = b"HTTP/1.1 200 OK\r\n"


def whole(content: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(content) + content


def redirect(place: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()


ANSWERS = {
    "/cat.png": whole(PNG),
    "/text.png": whole(b"hello"),
    "/missing.png": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "/empty": b"",
    "/nonsense": b"\x00\xff nonsense\r\n\r\n",
    "/bad-status": b"HTTP/1.1 abc OK\r\n\r\n",
    "/long-line": b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
    "/many-headers": HEAD + b"a: b\r\n" * 1000 + b"\r\n",
    "/short": HEAD + b"Content-Length: 1000\r\n\r\nabc",
    "/bad-length": HEAD + b"Content-Length: -5\r\n\r\n",
    "/bad-chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    "/to-file": redirect("file:///etc/hostname"),
    "/to-ftp": redirect("ftp://127.0.0.1/a.png"),
    "/to-data": redirect("data:image/png;base64,AAAA"),
    "/circle": redirect("/circle"),
    "/to-cat": redirect("/cat.png"),
    "/to-bad-host": redirect("http://[::1/"),
}


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        path = self.rfile.readline().split()[1].decode().partition("?")[0]
        lines = list(iter(lambda: self.rfile.readline().strip(), b""))
        self.server.requests.append((path, lines))
        try:
            if path == "/flood":
                self.wfile.write(HEAD + b"\r\n")
                while True:
                    self.wfile.write(bytes(2**16))
            elif path in ("/drip", "/drip-header"):
                self.wfile.write(HEAD if path == "/drip-header" else HEAD + b"\r\n")
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.02)
            else:
                self.wfile.write(ANSWERS[path])
        except OSError:
            pass  # the client has gone


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, list[bytes]]] = []
        self.host = f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.mark.parametrize("path", ["/cat.png", "/cat.png?size=1", "/to-cat"])
def test_an_image_is_downloaded(server, path):
    assert np.array_equal(read_image(f"http://{server.host}{path}"), RGB)


def test_the_last_part_of_the_path_names_the_results(server):
    (source,) = expand_sources(f"http://{server.host}/cat.png?size=1")
    assert source.stem == "cat" and source.name.endswith("/cat.png?size=1")


@pytest.mark.parametrize("path", sorted(set(ANSWERS) - {"/cat.png", "/to-cat"}))
def test_wrong_answers_fail_their_image_alone(server, path):
    failing, good = expand_sources([f"http://{server.host}{path}", f"http://{server.host}/cat.png"])
    with pytest.raises(ImageError, match="127"):
        failing.load()
    assert np.array_equal(good.load(), RGB)


@pytest.mark.parametrize("address", ["http://", "http://[::1", "http://a b/", "http://x:port/", "http://\u00e9\n/"])
def test_malformed_addresses(address):
    with pytest.raises(ImageError, match="cannot download"):
        read_image(address)


def test_a_port_without_a_server(server):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ImageError, match=r"cannot download 'http://127.*refused; check"):
        read_image(f"http://127.0.0.1:{port}/a.png")


def test_a_flood_is_cut_off(server):
    with pytest.raises(ImageError, match="more than 1000000 bytes"):
        download(f"http://{server.host}/flood", AddressLimits(max_bytes=10**6))


@pytest.mark.parametrize("path", ["/drip", "/drip-header"])
def test_the_total_time_is_bounded(server, path):
    begin = time.monotonic()
    with pytest.raises(ImageError, match=r"not complete after 0\.3 s"):
        download(f"http://{server.host}{path}", AddressLimits(total_s=0.3))
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("path", ["/cat.png", "/to-cat"])
def test_private_networks_can_be_refused(server, path, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://{server.host}")
    server.requests.clear()
    for host in (server.host, server.host.replace("127.0.0.1", "localhost")):
        with pytest.raises(ImageError, match="not on the public internet"):
            read_image(f"http://{host}{path}", limits=AddressLimits(public_only=True))
    assert not server.requests


def test_credentials_are_sent_once_and_never_shown(server):
    server.requests.clear()
    address = f"http://user:pass%40word@{server.host}/to-cat?X-Amz-Signature=abc123&size=2"
    (source,) = expand_sources(address)
    assert np.array_equal(source.load(), RGB)
    (_, first), (_, second) = server.requests
    expected = b"Authorization: Basic " + base64.b64encode(b"user:pass@word")
    assert expected in first
    assert not any(line.startswith(b"Authorization") for line in second)
    assert source.name == f"http://{server.host}/to-cat?X-Amz-Signature=***&size=2"
    with pytest.raises(ImageError) as told:
        read_image(f"http://user:pass%40word@{server.host}/missing.png?token=abc123")
    assert "pass" not in str(told.value).replace("or pass a file", "") and "abc123" not in str(told.value)
    assert told.value.__cause__ is None


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://a/b.png", "http://a/b.png"),
        ("https://u:p@h:8/x?a=1&api_key=2#t", "https://h:8/x?a=1&api_key=***#t"),
        ("https://h?Token=1;b=@", "https://h?Token=***;b=@"),
    ],
)
def test_addresses_in_messages(address, shown):
    assert without_credentials(address) == shown
