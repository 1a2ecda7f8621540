"""Archives on their way into the server's model store: verified, whole, under a name of their own."""

from dataclasses import dataclass
from pathlib import Path

from nautilus_torchserve.files.atomic_file import fresh_file, remove_unsettled, settle
from nautilus_torchserve.release.rollout.versions import archive_name
from nautilus_torchserve.signing.archive_signature import Untrusted, read_digest, verify_archive
from nautilus_torchserve.signing.plain_zip import MOST_BYTES


@dataclass(frozen=True)
class Stored:
    """A verified archive in the model store."""

    path: Path
    model: str
    version: str
    digest: str
    """Content digest, which every answer of it carries."""
    signer: str
    """Whose key signed it."""
    bytes: int
    """Its size."""


def store_verified(archive: Path, trusted: Path, model_store: Path, model: str, most_bytes: int = MOST_BYTES) -> Stored:
    """Verify an archive and put it into the model store, in one step and on the disk before this returns.

    It is read once and written anew from what was verified, so that the server unpacks that and nothing else,
    whatever becomes of ``archive`` meanwhile. Rollouts of one model exclude each other; what a killed one left
    is taken away.

    Parameters
    ----------
    model : str
        The name that it will be asked under: that of the model it must be of, or one that begins with that and a
        dash (``tick-many``, the tick model with other batch settings).

    Raises
    ------
    Untrusted
        As `verify_archive`, or it is of another model.
    FileExistsError
        The store has another archive of this model and version: a version is rolled out once.
    OSError
        The store cannot be written to; nothing is left there.
    """
    if not model_store.is_dir():
        raise NotADirectoryError(f"{model_store}: a model store expected, was no folder")
    label = f"{model}.mar"
    remove_unsettled(model_store, label)
    with fresh_file(model_store, label) as file:
        verified = verify_archive(archive, trusted, most_bytes, copy=file)
        if model != verified.model and not model.startswith(f"{verified.model}-"):
            raise Untrusted(f"{archive}: an archive of {model} expected, was one of {verified.model}")
        path = model_store / archive_name(model, verified.version)
        _check_not_another(path, verified.digest)
        size = file.tell()
        settle(file, path, 0o644)
    return Stored(path, model, verified.version, verified.digest, verified.signer, size)


def _check_not_another(path: Path, digest: str) -> None:
    if not path.exists():
        return
    try:
        stored = read_digest(path)
    except Untrusted as error:
        stored = f"no readable one ({error})"
    if stored != digest:
        raise FileExistsError(f"{path}: no archive, or one with content {digest}, expected, was {stored}")
