"""Which database an address leads to: one server has many addresses."""

from __future__ import annotations

import time
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from sqlalchemy import Engine, text

from ops.dialects.postgresql.connect import (
    connect_parameters,
    connected,
    database_of,
    maintenance,
)
from ops.errors import OpsError

_SILENT_SECONDS: Final = 3
"""A server that has not answered so long does not answer for another of its databases either."""

_SERVER: Final = """
SELECT CASE WHEN has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            THEN (SELECT system_identifier::text FROM pg_control_system())
            ELSE extract(epoch FROM pg_postmaster_start_time())::text END
"""
"""The number that initdb gave to the server; else since when it runs, to the microsecond. A
standby has its primary's number: two that are never restored at once."""


def identity(engine: Engine) -> str:
    """The same text for every address of the same database. By the address alone where the
    server does not answer: nothing can be done to it then either."""
    name, began = database_of(engine), time.monotonic()
    for connecting in (connected, maintenance):  # the database may be gone, and the server there
        with suppress(OpsError), connecting(engine) as connection:
            return f"{connection.execute(text(_SERVER)).scalar()}/{name}"
        if time.monotonic() - began > _SILENT_SECONDS:
            break
    parameters = connect_parameters(engine)
    host, port = str(parameters.get("host", "")).lower(), parameters.get("port", 5432)
    return f"{'' if _is_here(host) else host}:{port}/{name}"


def _is_here(host: str) -> bool:
    """Whether the host's name is one of this very machine."""
    if host in ("", "localhost") or host.startswith(("/", "@")):
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
