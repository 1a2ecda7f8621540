"""Archives to be registered."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.versions import as_version
from nautilus_torchserve.signing.archive_signature import read_identity, sign_archive


def variant(
    archive: Path, to: Path, key: Path | None, version: str | None = None, changes: Mapping[str, Any] | None = None
) -> Path:
    """Write a copy of an archive with another version, and other values in its ``model.json``."""

    def edit(name: str, content: bytes) -> bytes:
        if name == "model.json" and changes is not None:
            return json.dumps({**json.loads(content), **changes}).encode()
        return content

    as_version(archive, to, version or read_identity(archive)[1], edit)
    if key is not None:
        sign_archive(to, key)
    return to
