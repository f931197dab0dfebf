"""Reading the script that pg_restore makes of a dump's data, part by part.

It holds COPY blocks and short statements whose only quotes are 'text' and "names"; the
definitions before and after the data go to the server whole, which knows best where a
statement ends.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Final

from psycopg2.extensions import encodings

from ops.dialects.postgresql.reading import damaged

_QUOTED: Final = re.compile(rb"\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'")
_NAME: Final = rb'(?:"(?:[^"]|"")+"|[^".\s]+)'
_COPY: Final = re.compile(
    rb"COPY (" + _NAME + rb"\." + _NAME + rb") .*FROM stdin;\s*", re.DOTALL | re.ASCII
)
_ENCODING: Final = re.compile(rb"^SET client_encoding = '([A-Za-z0-9_]+)';", re.MULTILINE)
_OF_PSQL: Final = re.compile(rb"^\\(?:un)?restrict [A-Za-z0-9]+$", re.MULTILINE)
_END_OF_ROWS: Final = b"\\.\n"
_NOT_OURS: Final = (b"BEGIN;", b"COMMIT;")
"""The transaction is ours alone: a COMMIT in the middle would leave a half."""


class CopyBlock:
    """The rows of one table: `statement` is the COPY, `table` its name as manifests have it."""

    def __init__(self, statement: bytes, table: str, stream: io.BufferedIOBase) -> None:
        self.statement = statement
        self.table = table
        self._stream: io.BufferedIOBase | None = stream

    def rows(self) -> Iterator[bytes]:
        """Every row that was not read yet, a line each. Raises BadArchive where they break off."""
        while self._stream is not None:
            line = self._stream.readline()
            if line == _END_OF_ROWS:
                self._stream = None
            elif line.endswith(b"\n"):
                yield line
            else:
                raise damaged("pg_restore broke off in the rows of a table")


def parts_of(stream: io.BufferedIOBase) -> Iterator[bytes | CopyBlock]:
    """The statements and COPY blocks of a data script, without BEGIN, COMMIT and comments.

    Raises:
        BadArchive: it breaks off.
    """
    pending, codec = b"", "utf-8"
    while line := stream.readline():
        if not pending and (not line.strip() or line.startswith((b"--", b"\\"))):
            continue
        pending += line
        if not _is_whole(pending):
            continue
        statement, pending = pending, b""
        codec = codec_of(statement, codec)
        copy = _COPY.fullmatch(statement)
        if copy:
            block = CopyBlock(statement, copy[1].decode(codec, "replace"), stream)
            yield block
            for _ in block.rows():
                pass
        elif statement.strip() not in _NOT_OURS:
            yield statement
    if pending:
        raise damaged("pg_restore broke off in a statement")


def _is_whole(text: bytes) -> bool:
    if not text.endswith(b";\n"):
        return False
    left = _QUOTED.sub(b"", text)
    return b"'" not in left and b'"' not in left


def encoding_of(script: bytes) -> str:
    """PostgreSQL's name of the encoding in which a script is written."""
    found = _ENCODING.search(script)
    return found[1].decode() if found else "UTF8"


def codec_of(statement: bytes, otherwise: str) -> str:
    """Python's name of the encoding that a statement sets, if it sets one."""
    found = _ENCODING.match(statement)
    return encodings.get(found[1].decode().upper(), otherwise) if found else otherwise


def without_commands(script: bytes) -> bytes:
    """A script of definitions without the two lines that only psql understands."""
    first = _OF_PSQL.search(script)
    if first is None:
        return script
    line = first[0] + b"\n"
    return script.replace(line, b"", 1).replace(line.replace(b"\\", b"\\un"), b"", 1)
