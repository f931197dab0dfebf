"""A backup through the browser's routes: down beside nginx, up beside cp."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from console.accounts import SESSION_COOKIE
from tests.bench.measure import Found, Way, contest, peak_of
from tests.services.console import RunningConsole, running_console
from tests.services.ports import free_port

_NGINX = """
daemon off; user root; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
worker_processes auto;
events {{}}
http {{ access_log off; sendfile on; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}; }} }}
"""
_NAME = "shop-20260101-120000.zip"


def run(folder: Path, size: int, rounds: int, say: Callable[[str], None]) -> Found:
    """Both contests, and the server's memory."""
    with running_console(folder) as console:
        time.sleep(3)  # what it does at its start is over
        idle = peak_of(console.process.pid)
        file = console.data.backups("demo") / _NAME
        say("making a file")
        with file.open("wb") as into:
            subprocess.run(["head", "-c", str(size), "/dev/urandom"], stdout=into, check=True)
        with _nginx(folder, file.parent) as address:
            down = contest(_downloads(console, folder, address), rounds, say)
        up = contest(_uploads(console, folder, file, size), rounds, say)
        figures = {"server_idle_bytes": idle, "server_peak_bytes": peak_of(console.process.pid)}
    return Found({"Download": down, "Upload": up}, figures)


def _curl(console: RunningConsole, *options: str | Path) -> list[str | Path]:
    client = console.signed_in()
    headers = [
        f"Cookie: {SESSION_COOKIE}={client.cookies[SESSION_COOKIE]}",
        f"X-Ops-Csrf: {client.headers['X-Ops-Csrf']}",
        "Tus-Resumable: 1.0.0",
    ]
    told = [part for header in headers for part in ("-H", header)]
    return ["curl", "--silent", "--show-error", "--fail", *told, *options]


def _downloads(console: RunningConsole, folder: Path, nginx: str) -> list[Way]:
    into, address = folder / "down", f"{console.address}/api/backups/demo/{_NAME}"
    plain: list[str | Path] = ["curl", "--silent", "--fail", "-o", into]
    ways = [Way("ours", _curl(console, "-o", into, address), made=into, ours=True)]
    if nginx:
        ways.insert(0, Way("nginx", [*plain, f"{nginx}/{_NAME}"], made=into))
    return ways


def _uploads(console: RunningConsole, folder: Path, file: Path, size: int) -> list[Way]:
    copy, script = folder / "copy", folder / "up.sh"

    def announce() -> None:
        """Each upload has an address of its own; the former one is gone, as the copy is."""
        for former in console.data.uploads.iterdir():
            former.unlink()
        with console.signed_in() as client:
            made = client.post("/api/uploads", headers={"Upload-Length": str(size)})
            where = f"{console.address}{made.raise_for_status().headers['location']}"
        headers = ["-H", "Upload-Offset: 0", "-H", "Content-Type: application/offset+octet-stream"]
        # --upload-file streams; curl reads what it sends with --data into memory.
        send = _curl(
            console, "-X", "PATCH", *headers, "-H", "Expect:", "--upload-file", file, where
        )
        script.write_text(" ".join(f"'{part}'" for part in send))

    def fresh() -> None:
        copy.unlink(missing_ok=True)

    return [
        Way("cp", ["cp", file, copy], fresh, copy),
        Way(
            "cp, flushed to disk",
            ["sh", "-c", f"cp '{file}' '{copy}' && sync '{copy}'"],
            fresh,
            copy,
        ),
        Way("ours", ["sh", script], announce, ours=True),
    ]


@contextmanager
def _nginx(folder: Path, root: Path) -> Iterator[str]:
    """The address of an nginx that serves `root`; empty where none is installed."""
    program, port = shutil.which("nginx"), free_port()
    if program is None:
        yield ""
        return
    conf = folder / "nginx.conf"
    conf.write_text(_NGINX.format(folder=folder, root=root, port=port))
    server = subprocess.Popen([program, "-c", conf, "-e", folder / "nginx.log"])
    try:
        time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
