"""The console's seal: how it knows the archives that it made itself.

An HMAC-SHA256 over the manifest, whose entry hashes cover the content. A dump from
elsewhere can run SQL of its author's choosing when restored; so what is not sealed
here needs an explicit yes.
"""

from __future__ import annotations

import hmac
import os
import secrets
import tempfile
from pathlib import Path

from ops.archive.manifest import Manifest

_KEY_BYTES = 32


def seal_key(path: Path) -> bytes:
    """The key at `path`, made on first use with mode 0600; it appears there whole or not at all.

    Raises OSError where it cannot be kept.
    """
    if not path.exists():
        handle, draft = tempfile.mkstemp(prefix=path.name, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            _name_once(Path(draft), path)
        finally:
            Path(draft).unlink(missing_ok=True)
    return path.read_bytes()


def _name_once(draft: Path, path: Path) -> None:
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return  # another process was faster, and may have sealed with its key
    except OSError:
        draft.replace(path)  # a disk that knows no links


def sealed(manifest: Manifest, key: bytes) -> Manifest:
    """`manifest` with this console's seal."""
    return manifest.model_copy(update={"seal": _digest(manifest, key)})


def is_sealed(manifest: Manifest, key: bytes) -> bool:
    """Whether `manifest` carries the seal of `key` and is unchanged since."""
    return hmac.compare_digest(manifest.seal or "", _digest(manifest, key))


def _digest(manifest: Manifest, key: bytes) -> str:
    return hmac.new(key, manifest.sealed_text(), "sha256").hexdigest()
