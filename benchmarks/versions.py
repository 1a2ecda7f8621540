"""Copies of an archive under other versions."""

import json
from pathlib import Path
from zipfile import ZipFile

from nautilus_torchserve.wire.digest import MANIFEST, SIGNATURE


def as_version(archive: Path, to: Path, version: str) -> Path:
    """Write the same archive under another version, unsigned."""
    with ZipFile(archive) as old, ZipFile(to, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == MANIFEST:
                manifest = json.loads(data)
                manifest["model"]["modelVersion"] = version
                data = json.dumps(manifest).encode()
            if name != SIGNATURE:
                new.writestr(name, data)
    return to
