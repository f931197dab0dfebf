"""Ports of this machine alone."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A port that is free on the loopback address just now; somebody may still be faster."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
