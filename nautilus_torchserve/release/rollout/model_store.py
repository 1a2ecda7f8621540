"""Writing archives to the server's model store: verified, atomic, under a name of their own."""

from dataclasses import dataclass
from pathlib import Path

from nautilus_torchserve.files.atomic_file import fresh_file, remove_unsettled, settle
from nautilus_torchserve.release.rollout.versions import archive_name
from nautilus_torchserve.signing.archive_signature import Untrusted, read_digest, verify_archive


@dataclass(frozen=True)
class StoredArchive:
    """A verified archive in the model store."""

    path: Path
    model: str
    version: str
    digest: str
    """Content digest, which every response carries."""
    signer: str
    """Name of the key that signed it."""
    bytes: int
    """Size of the file."""


def store_verified(archive: Path, trusted: Path, model_store: Path, model: str) -> StoredArchive:
    """Verify an archive and write it to the model store, atomically and synced to the disk.

    It is read once and written from what was verified, so that the server unpacks that and nothing else, whatever
    happens to ``archive`` meanwhile. Rollouts of one model exclude each other; what a killed one left is deleted.

    Parameters
    ----------
    model : str
        The name that it is served under: the name of its model, or one that begins with that and a dash
        (``tick-many``, the tick model with other batch settings).

    Raises
    ------
    Untrusted
        As `verify_archive`, or it is of another model.
    FileExistsError
        The store has another archive of this model and version.
    OSError
        The store cannot be written; nothing is left there.
    """
    if not model_store.is_dir():
        raise NotADirectoryError(f"{model_store}: expected a model store, got no folder")
    label = f"{model}.mar"
    remove_unsettled(model_store, label)
    with fresh_file(model_store, label) as file:
        verified = verify_archive(archive, trusted, copy=file)
        if model != verified.model and not model.startswith(f"{verified.model}-"):
            raise Untrusted(f"{archive}: expected an archive of {model}, got one of {verified.model}")
        path = model_store / archive_name(model, verified.version)
        _check_not_another(path, verified.digest)
        size = file.tell()
        settle(file, path, 0o644)
    return StoredArchive(path, model, verified.version, verified.digest, verified.signer, size)


def _check_not_another(path: Path, digest: str) -> None:
    if not path.exists():
        return
    try:
        stored = read_digest(path)
    except Untrusted as error:
        stored = f"an unreadable one ({error})"
    if stored != digest:
        raise FileExistsError(
            f"{path}: expected no archive, or one with content {digest}, got {stored}: use another version"
        )
