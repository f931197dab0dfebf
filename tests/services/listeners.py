"""Services that take messages, on loopback: a web server and a mail server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.services.ports import free_port


@dataclass
class Listener:
    """What came: of mails the subject and the text, of hooks the title and the message, of a
    watchdog the path. `status` is what a web server answers; `hang` lets it answer later."""

    port: int = 0
    came: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200
    hang: threading.Event | None = None


@contextmanager
def web_listener() -> Iterator[Listener]:
    """A web server that takes GET and POST."""
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer((self.path, ""))

        def do_POST(self) -> None:
            told: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer((told["title"], told["message"]))

        def _answer(self, came: tuple[str, str]) -> None:
            if listener.hang is not None:
                listener.hang.wait(30)
            if listener.status == 200:
                listener.came.append(came)
            self.send_response(listener.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Tests read `came`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield listener
    finally:
        if listener.hang is not None:
            listener.hang.set()
        server.shutdown()
        server.server_close()


@contextmanager
def mail_listener() -> Iterator[Listener]:
    """A mail server that takes every mail."""
    listener = Listener()

    class Handler:
        async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
            mail = message_from_bytes(envelope.original_content or b"", policy=policy.default)
            body = mail.get_body(("plain",))
            listener.came.append((str(mail["Subject"]), body.get_content() if body else ""))
            return "250 OK"

    controller = Controller(Handler(), hostname="127.0.0.1", port=free_port())
    controller.start()
    listener.port = controller.port
    try:
        yield listener
    finally:
        controller.stop()
