"""Starting the web server.

Streamlit's own launcher waits for ever for a slow download when it is told to stop, and
knows no reverse proxies; so uvicorn is started here.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvicorn

from console.accounts import has_password, make_sign_in_link_token
from ops.errors import SettingsError, Unavailable
from ops.installation import Installation

if TYPE_CHECKING:
    from streamlit.starlette import App

GRACE_SECONDS: Final = 10
# Compared with, never bound to.
_ANY_ADDRESS: Final = ("0.0.0.0", "::", "")  # nosec B104


def serve(
    home: Installation,
    host: str | None = None,
    port: int | None = None,
    script: Path | None = None,
) -> None:
    """Serve the console until it is told to stop; `host` and `port` go before the settings.

    Raises:
        SettingsError: the address or port cannot be listened on.
        Unavailable: the console could not start; the log says why.
    """
    host = home.settings.host if host is None else host
    line = _listen(host, home.settings.port if port is None else port)
    with line:
        bound_port = line.getsockname()[1]
        # Without an address Streamlit asks an outside service for one.
        os.environ["STREAMLIT_SERVER_ADDRESS"] = host
        os.environ["STREAMLIT_SERVER_PORT"] = str(bound_port)
        from console.web.app import MAIN_SCRIPT, create_app

        config = _config(create_app(script or MAIN_SCRIPT), home.settings.trusted_proxies)
        server = _Server(config, _address(host, bound_port))
        with suppress(KeyboardInterrupt):
            server.run(sockets=[line])
    if not server.started:
        raise Unavailable("The console could not start.", "The lines above say why.")


def _config(app: App, trusted_proxies: str) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_ping_interval=30,
        ws_ping_timeout=30,
        ws_per_message_deflate=False,
        proxy_headers=True,
        forwarded_allow_ips=trusted_proxies,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
        # Addresses can hold a sign-in token, so requests are not logged.
        access_log=False,
        log_level="warning",
    )


class _Server(uvicorn.Server):
    """Says where the console is as soon as it answers."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(_welcome(self._address), flush=True)


def _welcome(address: str) -> str:
    lines = [f"Ops Console is ready: {address}"]
    if not has_password():
        lines += [
            "No password is set. This link signs you in; it works once, within 24 hours:",
            f"{address}/login?token={make_sign_in_link_token()}",
        ]
    return "\n".join(lines)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens; taken before anything else, so that a second start ends at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        line = socket.socket(family, kind, protocol)
    except OSError:
        raise SettingsError(
            f"The console cannot listen on {host!r}: it is not an address of this machine.",
            "Set OPS_HOST to one, for example 127.0.0.1.",
        ) from None
    try:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        line.bind(address)
        line.listen(128)
    except OSError as cause:
        line.close()
        raise _cannot_listen(host, port, cause) from None
    return line


def _cannot_listen(host: str, port: int, cause: OSError) -> SettingsError:
    if cause.errno == errno.EADDRINUSE:
        return SettingsError(
            f"Port {port} is taken by another program, perhaps by a console that runs already.",
            "Stop it, or choose another port with OPS_PORT (0 takes a free one).",
        )
    reason = cause.strerror or "unknown reason"
    return SettingsError(
        f"The console cannot listen on {host}, port {port}: {reason}.",
        "Set OPS_HOST and OPS_PORT to what this machine has.",
    )


def _address(host: str, port: int) -> str:
    """The address for a browser on this machine."""
    shown = "localhost" if host in _ANY_ADDRESS else host
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
