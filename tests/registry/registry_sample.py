"""Archives to be registered."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from nautilus_torchserve.signing.archive_signature import sign_archive
from nautilus_torchserve.wire.digest import MANIFEST, SIGNATURE


def variant(
    archive: Path, to: Path, key: Path | None, version: str | None = None, changes: Mapping[str, Any] | None = None
) -> Path:
    """A copy of an archive with another version, and other values in its ``model.json``."""
    with ZipFile(archive) as old, ZipFile(to, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == MANIFEST and version is not None:
                manifest = json.loads(content)
                manifest["model"]["modelVersion"] = version
                content = json.dumps(manifest).encode()
            if name == "model.json" and changes is not None:
                content = json.dumps({**json.loads(content), **changes}).encode()
            if name != SIGNATURE:
                new.writestr(name, content)
    if key is not None:
        sign_archive(to, key)
    return to
