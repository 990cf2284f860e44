"""The catalogue, where files are looked for, and downloads that never leave half a file."""

import hashlib
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import open_clip
import pytest

from ovperc.weights import catalogue as weights
from ovperc.weights import download as downloads
from ovperc.weights.download import DownloadError, download_file

CONTENT = bytes(range(256)) * 9000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("OVPERC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("OVPERC_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, with ranges; ``/cut`` breaks off half way through a whole answer."""

    def do_GET(self):
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if self.path == "/missing":
            return self.send_error(404)
        if start >= len(CONTENT):
            return self.send_error(416)
        self.server.starts.append(start)
        self.send_response(206 if start and self.path != "/no-ranges" else 200)
        body = CONTENT[start:] if self.path != "/no-ranges" else CONTENT
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        running.starts = []
        running.url = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_catalogue_agrees_with_open_clip():
    assert len(set(weights.list_weights())) == len(weights.CATALOGUE)
    entries = [entry for entry in weights.CATALOGUE if entry.tag]
    assert len(entries) >= 60
    for entry in entries:
        row = open_clip.get_pretrained_cfg(entry.arch, entry.tag)
        assert (entry.mean, entry.std) == (row["mean"], row["std"])
        assert entry.arch.endswith("-quickgelu") == row.get("quick_gelu", False)
        assert (entry.url or "") == row["url"] and entry.hubs == (row["hf_hub"].rstrip("/"),)
        assert entry.sha256 is None or entry.sha256 in entry.url
        assert weights.find_entry(entry.arch, entry.tag) is entry


def test_offline_first(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "download_file", lambda *_, **__: pytest.fail("no download is due"))
    clip_cache = tmp_path / ".cache" / "clip" / "ViT-B-16.pt"
    for path in (clip_cache, tmp_path / "home" / "ViT-B-16.pt", tmp_path / "home" / "weights" / "ViT-B-16.pt"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        assert weights.resolve_weights("ViT-B-16/openai") == path


@pytest.mark.parametrize("variable", ["OVPERC_OFFLINE", "HF_HUB_OFFLINE"])
def test_missing_weights_name_file_url_and_place(tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    with pytest.raises(weights.MissingWeightsError) as error:
        weights.resolve_weights("RN50/openai")
    for part in ("RN50.pt", "openaipublic.azureedge.net", str(tmp_path / "home" / "weights"), "MIT", "switched off"):
        assert part in str(error.value)


def test_failed_download_says_how_to_get_it(monkeypatch):
    def refuse(*_, **__):
        raise DownloadError("no route to host")

    monkeypatch.setattr(downloads, "download_file", refuse)
    with pytest.raises(weights.MissingWeightsError, match=r"no route to host(.|\n)*ViT-L-14-336px\.pt"):
        weights.resolve_weights("ViT-L-14-336/openai")


def test_unknown_name():
    with pytest.raises(ValueError, match=r"did you mean.*'ViT-H-14/laion2b_s32b_b79k'"):
        weights.resolve_weights("ViT-H-14/laion2b")


def test_download(server, tmp_path):
    target = tmp_path / "new" / "w.pt"
    assert download_file(f"{server.url}/w", target, sha256=SHA256) == target
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_download_is_resumed(server, tmp_path):
    target = tmp_path / "w.pt"
    with pytest.raises(DownloadError, match=r"broke off|could not be fetched"):
        download_file(f"{server.url}/cut", target)
    assert not target.exists()
    half = (tmp_path / "w.pt.part").stat().st_size
    assert half == len(CONTENT) // 2
    download_file(f"{server.url}/w", target, sha256=SHA256)
    assert server.starts == [0, half] and target.read_bytes() == CONTENT


@pytest.mark.parametrize(("path", "size"), [("no-ranges", 1000), ("w", len(CONTENT) + 5)])
def test_part_that_cannot_be_resumed_is_begun_again(server, tmp_path, path, size):
    (tmp_path / "w.pt.part").write_bytes(bytes(size))
    download_file(f"{server.url}/{path}", tmp_path / "w.pt", sha256=SHA256)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT


def test_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(DownloadError, match=f"sha256 {SHA256}, expected 00"):
        download_file(f"{server.url}/w", tmp_path / "w.pt", sha256="00")
    assert not list(tmp_path.glob("w.pt*"))


def test_no_space(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(DownloadError, match="no space left"):
        download_file(f"{server.url}/w", tmp_path / "w.pt")
    assert not list(tmp_path.glob("w.pt*"))


def test_no_server_and_no_file(server, tmp_path):
    with pytest.raises(DownloadError, match="could not be fetched: Not Found"):
        download_file(f"{server.url}/missing", tmp_path / "w.pt")
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match="could not be fetched"):
        download_file(f"{server.url}/w", tmp_path / "w.pt")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="could not be written"):
        download_file(f"{server.url}/w", tmp_path / "file" / "w.pt")


def _tool(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code] if code else [sys.executable, str(ROOT / "tools" / "download.py")]
    return subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_tool_lists_without_torch():
    code = (
        "import sys, runpy; sys.argv = ['download.py', '--list']\n"
        "try: runpy.run_path('tools/download.py', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = _tool(code=code)
    assert done.returncode == 0, done.stderr
    assert "ViT-H-14/laion2b_s32b_b79k" in done.stdout and "not downloaded" in done.stdout


def test_tool_errors(monkeypatch):
    assert "usage" in _tool("--help").stdout
    assert _tool().returncode == 2
    unknown = _tool("ViT-B-61/openai")
    assert unknown.returncode == 2 and "did you mean" in unknown.stderr
