"""The digest that names an archive's content.

The builder prints it; the worker computes it from the files it was given and returns it with
every answer (``x-archive-digest``). The same content has the same digest, whenever it was built
and whoever signed it.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

MANIFEST = "MAR-INF/MANIFEST.json"
SIGNATURE = "MAR-INF/SIGNATURE.json"
"""Signs the digest, so it is no part of what the digest is computed from."""


def content_digest(members: Iterable[tuple[str, bytes]]) -> str:
    """Return the SHA-256 over all members by name, whatever their order; `SIGNATURE` does not count.

    The manifest counts without ``createdOn``, the one thing that changes when the same
    content is packed again.

    Raises
    ------
    ValueError
        A member's name holds a line break, with which one member could pass for two; or the manifest is no object.
    """
    return combined_digest((name, member_digest(name, [data])) for name, data in members)


def member_digest(name: str, pieces: Iterable[bytes]) -> str:
    """Return the SHA-256 of one member's content, given in pieces."""
    if name == MANIFEST:
        manifest = json.loads(b"".join(pieces))
        if not isinstance(manifest, dict):
            raise ValueError(f"expected a JSON object as {MANIFEST}, got {type(manifest).__name__}")
        manifest.pop("createdOn", None)
        pieces = [json.dumps(manifest, sort_keys=True).encode()]
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def combined_digest(digests: Iterable[tuple[str, str]]) -> str:
    """Return the content digest, given the names and digests of the members; raise as `content_digest`."""
    lines = []
    for name, digest in digests:
        if "\n" in name:
            raise ValueError(f"expected a member's name without line breaks, got {name!r}")
        if name != SIGNATURE:
            lines.append(f"{digest}  {name}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def archive_digest(path: Path) -> str:
    """Return the digest of a ``.mar`` file."""
    with ZipFile(path) as archive:
        return content_digest((info.filename, archive.read(info)) for info in archive.infolist() if not info.is_dir())


def folder_digest(folder: Path) -> str:
    """Return the digest of an unpacked archive.

    Leaves out the ``__pycache__`` that Python writes there while running; one that came
    inside an archive therefore shows as a different digest.
    """
    return content_digest(
        (path.relative_to(folder).as_posix(), path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    )
