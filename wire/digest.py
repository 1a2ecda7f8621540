"""The digest that names an archive's content.

The builder prints it, the worker computes it anew from the files it was given and says
it with every answer (``x-archive-digest``). Same content, same digest, whenever built.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

MANIFEST = "MAR-INF/MANIFEST.json"


def content_digest(members: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 over all members by name, whatever their order.

    The manifest counts without ``createdOn``, the one thing that changes when the same
    content is packed again.
    """
    lines = []
    for name, data in members:
        if name == MANIFEST:
            manifest = {key: value for key, value in json.loads(data).items() if key != "createdOn"}
            data = json.dumps(manifest, sort_keys=True).encode()
        lines.append(f"{hashlib.sha256(data).hexdigest()}  {name}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def archive_digest(path: Path) -> str:
    """Digest of a ``.mar`` file."""
    with ZipFile(path) as archive:
        return content_digest(
            (info.filename, archive.read(info)) for info in archive.infolist() if not info.is_dir()
        )


def folder_digest(folder: Path) -> str:
    """Digest of an archive that has been unpacked, as TorchServe does.

    Leaves out the ``__pycache__`` that Python makes there while running; one that came
    inside an archive therefore shows as a different digest.
    """
    return content_digest(
        (path.relative_to(folder).as_posix(), path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    )
