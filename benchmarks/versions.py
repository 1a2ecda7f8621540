"""Copies of an archive under other versions."""

import json
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

from nautilus_torchserve.wire.digest import MANIFEST, SIGNATURE


def as_version(
    archive: Path, to: Path, version: str, edit: Callable[[str, bytes], bytes | None] = lambda _, content: content
) -> Path:
    """Write an archive under another version, unsigned.

    Parameters
    ----------
    edit : callable
        Takes a member's name and content, and returns its new content; None leaves the member out.
    """
    with ZipFile(archive) as source, ZipFile(to, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            if name == MANIFEST:
                manifest = json.loads(content)
                manifest["model"]["modelVersion"] = version
                content = json.dumps(manifest).encode()
            edited = edit(name, content)
            if name != SIGNATURE and edited is not None:
                copy.writestr(name, edited)
    return to
