"""A backup through the browser's routes: down beside nginx, up beside cp and a bare socket."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
        with _bare_receiver(folder / "received") as address:
            up = contest(_uploads(console, folder, file, size, address), rounds, say)
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


def _uploads(console: RunningConsole, folder: Path, file: Path, size: int, bare: str) -> list[Way]:
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
        Way(
            "curl to a bare socket, not flushed",
            ["curl", "--silent", "--fail", "-H", "Expect:", "--upload-file", file, bare],
        ),
        Way("ours", ["sh", script], announce, ours=True),
    ]


@contextmanager
def _bare_receiver(into: Path) -> Iterator[str]:
    """The address of a loop that writes what it is sent, and knows no more of HTTP than it must:
    what a socket and a file cost without any server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_receive, args=(listening, into), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        listening.shutdown(socket.SHUT_RDWR)


def _receive(listening: socket.socket, into: Path) -> None:
    buffer = memoryview(bytearray(1 << 20))
    with suppress(OSError):  # the end
        while True:
            connection, _ = listening.accept()
            into.unlink(missing_ok=True)
            with connection, into.open("wb", buffering=0) as file:
                reader = connection.makefile("rb", buffering=0)
                left = next(
                    int(line.split(b":")[1])
                    for line in iter(reader.readline, b"")
                    if line.lower().startswith(b"content-length")
                )
                while reader.readline().strip():
                    pass
                while left:
                    got = connection.recv_into(buffer)
                    file.write(buffer[:got])
                    left -= got
                connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")


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
