"""Checks of archives before a server is started with them, and before a running one is stopped for that."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path

from nautilus_torchserve.serving.client.archive_file import (
    UnreadableArchive,
    archive_digest,
    check_handler,
    unpacked_bytes,
)
from nautilus_torchserve.signing.archive_signature import Untrusted, verify_archive
from nautilus_torchserve.signing.trust import writable_by_others

_LOG_BYTES = 64 << 20
"""Space for logs and keys beside the unpacked models."""


@dataclass(frozen=True)
class CheckedArchive:
    """An archive that a server may be started with."""

    version: str
    """Version in its manifest."""
    digest: str | None
    """Content digest, where it was needed."""
    bytes: int
    """Size of its unpacked content."""


def check_archives(
    model_store: Path,
    served: Mapping[tuple[str, str | None], str],
    trusted: Path | None,
    remembered: Mapping[tuple[str, str], str],
) -> dict[tuple[str, str | None], CheckedArchive]:
    """Check the archives that a server is to serve.

    Parameters
    ----------
    served : mapping
        Model and version (None: its archive's) -> file of the model store.
    trusted : Path, optional
        Folder of the keys whose signatures they need (`signing.trust`).
    remembered : mapping
        Model and version -> the content digest with which it was rolled out.

    Raises
    ------
    UnreadableArchive
        Missing, damaged, of another version, or replaced since it was rolled out.
    Untrusted
        Not signed by a trusted key, or of another model.
    """
    checked = {}
    for (model, version), name in sorted(served.items(), key=str):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UnreadableArchive(
                f"{model}={name:.100}: expected a file of the model store {model_store}, got a path that leaves it"
            )
        checked[model, version] = _check(model_store / name, model, version, trusted, remembered)
    return checked


def check_owner(home: Path) -> None:
    """Refuse a home that others can write to: its configuration says whose archives are trusted; raises `Untrusted`."""
    nearest = next(path for path in (home, *home.parents) if path.exists())
    if (reason := writable_by_others(nearest)) is not None:
        raise Untrusted(f"{reason}: the home {home} says whose archives are trusted")


def check_space(home: Path, needed: int, freed: int) -> None:
    """Refuse a home without room for what a server unpacks and logs there; raises OSError where there is none.

    Parameters
    ----------
    needed, freed : int
        Bytes that the models unpack to; bytes that a running server gives back.
    """
    nearest = next(path for path in (home, *home.parents) if path.exists())
    free, needed = shutil.disk_usage(nearest).free + freed, needed + _LOG_BYTES
    if free < needed:
        raise OSError(
            ENOSPC,
            f"expected {needed >> 20:,} MiB of free space for unpacked models and logs, got {free >> 20:,} MiB",
            str(home),
        )


def folder_bytes(folder: Path) -> int:
    """Return the size of the files in a folder, as far as they can be seen."""
    sizes = (path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    try:
        return sum(sizes)
    except OSError:  # a running server changes it
        return 0


def _check(
    path: Path, model: str, version: str | None, trusted: Path | None, remembered: Mapping[tuple[str, str], str]
) -> CheckedArchive:
    got = str(check_handler(path)["model"]["modelVersion"])
    if version is not None and version != got:
        raise UnreadableArchive(
            f"{path}: expected {model} {version:.100}, got version {got:.100}: another archive "
            "has taken its place; put that of this version back"
        )
    expected = remembered.get((model, got))
    digest = None
    if trusted is not None:
        digest = _verified_digest(path, model, trusted, expected)
    elif expected is not None:
        digest = archive_digest(path)
    if expected is not None and digest != expected:
        raise UnreadableArchive(
            f"{path}: expected {model} {got} with digest {expected}, as it was rolled out, got "
            f"digest {digest}: put that archive back, or build this one under another version"
        )
    return CheckedArchive(got, digest, unpacked_bytes(path))


def _verified_digest(path: Path, model: str, trusted: Path, expected: str | None) -> str:
    """Return the digest of an archive that a trusted key has signed and others cannot change before Java reads it."""
    if (reason := writable_by_others(path)) is not None:
        raise Untrusted(f"{reason}: what is verified there could be changed before TorchServe reads it")
    verified = verify_archive(path, trusted, accepted=() if expected is None else (expected,))
    if not re.fullmatch(rf"{re.escape(verified.model)}(-.*)?", model):
        raise Untrusted(f"{path}: expected an archive of {model}, got one of {verified.model}")
    return verified.digest
