"""A model archive on disk: its bounds, its manifest, its digest and the handler that it names."""

import ast
import json
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from nautilus_torchserve.serving.model_metadata import HOW_TO_DESCRIBE
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.digest import MANIFEST, combined_digest, member_digest

_MAX_UNPACKED_BYTES = 4 << 30
_MAX_UNPACKED_SMALL_BYTES, _MAX_RATIO = 256 << 20, 100
"""An archive that unpacks to more than the first must be compressed by less than the second: bombs are by 1,000."""
_MAX_MEMBERS = 10_000
_MAX_MANIFEST_BYTES = _MAX_SOURCE_BYTES = 1 << 20
_MAX_MESSAGE = 300


class UnreadableArchive(UserError, ValueError):
    """A file that is no model archive, or one that does not load; names it and what is wrong."""


@contextmanager
def open_archive(path: Path) -> Iterator[ZipFile]:
    """Open a ``.mar`` to read it.

    Raises
    ------
    UnreadableArchive
        It is no zip file, or what is read of it inside the block is damaged or not there.
    """
    if not path.is_file():
        raise UnreadableArchive(f"{path}: expected a model archive, got no file")
    try:
        with ZipFile(path) as archive:
            _check_bounds(path, archive)
            yield archive
    except UserError:
        raise
    except (
        # errors of damaged files that `zipfile` does not wrap: a flipped bit may cause any of them
        *(BadZipFile, ArithmeticError, EOFError, LookupError, MemoryError, NotImplementedError, OSError),
        *(RuntimeError, ValueError, struct.error, zlib.error),
    ) as error:
        raise UnreadableArchive(f"{path}: expected a model archive, got {one_line(error)}") from error


def _check_bounds(path: Path, archive: ZipFile) -> None:
    """Refuse what would fill memory or disk, or overwrite one member by another, before anything is unpacked."""
    members = archive.infolist()
    if len(members) > _MAX_MEMBERS:
        raise UnreadableArchive(f"{path}: expected at most {_MAX_MEMBERS:,} members, got {len(members):,}")
    size = sum(member.file_size for member in members)
    if size > _MAX_UNPACKED_BYTES:
        raise UnreadableArchive(f"{path}: expected at most {_MAX_UNPACKED_BYTES:,} bytes unpacked, got {size:,}")
    if size > _MAX_UNPACKED_SMALL_BYTES and size > _MAX_RATIO * path.stat().st_size:
        raise UnreadableArchive(
            f"{path}: expected to unpack to at most {_MAX_RATIO} times its size, got {size:,} "
            f"bytes in {path.stat().st_size:,}"
        )
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise UnreadableArchive(f"{path}: expected every member once, got {twice!r:.100} twice")
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UnreadableArchive(f"{path}: expected files, got a link or device as {member.filename!r:.100}")
        parts = Path(member.filename.replace("\\", "/")).parts
        if ".." in parts or member.filename.startswith(("/", "\\")):
            raise UnreadableArchive(f"{path}: expected members inside the archive, got {member.filename!r:.100}")
        if member.filename == MANIFEST and member.file_size > _MAX_MANIFEST_BYTES:
            raise UnreadableArchive(
                f"{path}: expected {MANIFEST} of at most {_MAX_MANIFEST_BYTES:,} bytes, got {member.file_size:,}"
            )


def unpacked_bytes(path: Path) -> int:
    """Return the unpacked size of an archive, bytes; raise `UnreadableArchive`."""
    with open_archive(path) as archive:
        return sum(member.file_size for member in archive.infolist())


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a ``.mar``, after a check of every member's checksum.

    Raises
    ------
    UnreadableArchive
    """
    with open_archive(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise UnreadableArchive(f"{path}: expected an undamaged archive, got damage in {damaged}")
        if MANIFEST not in archive.namelist():
            raise UnreadableArchive(f"{path}: expected a model archive, got a zip file without {MANIFEST}")
        manifest = json.loads(archive.read(MANIFEST))
    model = manifest.get("model") if isinstance(manifest, dict) else None
    for key in ("modelName", "modelVersion", "handler"):
        if not isinstance(model, dict) or not isinstance(model.get(key), str):
            raise UnreadableArchive(f"{path}: expected model.{key} as a text in {MANIFEST}, got {manifest!r:.60}")
    return manifest


def archive_digest(path: Path) -> str:
    """Return the content digest of a ``.mar``.

    Raises
    ------
    UnreadableArchive
    """
    with open_archive(path) as archive:
        return combined_digest(
            (member.filename, member_digest(member.filename, _pieces(archive, member)))
            for member in archive.infolist()
            if not member.is_dir()
        )


def _pieces(archive: ZipFile, member: ZipInfo) -> Iterator[bytes]:
    with archive.open(member) as file:
        while piece := file.read(1 << 20):
            yield piece


def handler_module(path: Path, manifest: Mapping[str, Any]) -> str:
    """Return the name of an archive's handler module, by TorchServe's rules.

    Raises
    ------
    UnreadableArchive
        The archive has no such file: it names one of TorchServe's own handlers, which do not describe themselves.
    """
    handler = manifest["model"]["handler"]
    name = handler.partition(":")[0].removesuffix(".py").rpartition("/")[2]
    with open_archive(path) as archive:
        if f"{name}.py" not in archive.namelist():
            raise UnreadableArchive(
                f"{path}: expected handler {handler!r} as {name}.py in the archive, got one of TorchServe's own, or "
                f"none: {HOW_TO_DESCRIBE}"
            )
    return name


def check_handler(path: Path) -> dict[str, Any]:
    """Refuse an archive whose handler no worker could load; return its manifest.

    Raises
    ------
    UnreadableArchive
        Its handler's module defines several classes, and no function for TorchServe to call.
    """
    manifest = read_manifest(path)
    handler, _, function = manifest["model"]["handler"].partition(":")
    name = f"{handler.removesuffix('.py').rpartition('/')[2]}.py"
    with open_archive(path) as archive:
        if name not in archive.namelist():
            return manifest  # one of TorchServe's own
        if (size := archive.getinfo(name).file_size) > _MAX_SOURCE_BYTES:
            raise UnreadableArchive(f"{path}: expected {name} of at most {_MAX_SOURCE_BYTES:,} bytes, got {size:,}")
        source = archive.read(name)
    if reason := second_class(source, function or "handle"):
        raise UnreadableArchive(f"{path}: {name}:{reason}")
    return manifest


def second_class(source: bytes, function: str = "handle") -> str:
    """Return line and reason why a worker refuses to load a handler module; empty where it does not.

    TorchServe's loader calls the module's function of that name, else takes the only class that it defines.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""  # importing it names the place
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    if len(classes) < 2 or function in functions:
        return ""
    return (
        f"{classes[1].lineno}: expected one class, TorchServe loads no handler with more, "
        f"got {', '.join(node.name for node in classes)}: keep the others in a module that it imports"
    )


def one_line(error: BaseException) -> str:
    """Return an exception's type and message, in one line of at most some 300 characters."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:_MAX_MESSAGE]}" if message else type(error).__name__
