"""Signed archives.

An archive is code that runs where orders are made. So a signature covers every member by name and content
(`wire.digest`), and what it cannot cover is refused: see `signing.plain_zip` for what could hide in a zip file.
"""

import base64
import binascii
import json
import re
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, NoReturn
from zipfile import ZIP_DEFLATED, ZipFile

from cryptography.exceptions import InvalidSignature

from nautilus_torchserve.files.atomic_file import fresh_file, remove_unsettled, settle
from nautilus_torchserve.signing.keys import BadKey, key_id, load_private_key
from nautilus_torchserve.signing.plain_zip import MOST_BYTES, Member, NotPlain, list_members, read_member, write_member
from nautilus_torchserve.signing.trust import Trust, read_trust
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.digest import MANIFEST, SIGNATURE, combined_digest, member_digest
from nautilus_torchserve.wire.names import is_model_name, is_version

ALGORITHM = "ed25519"
SIGNED = b"nautilus-torchserve archive digest\n"
"""Precedes the digest in the signed bytes, so that a signature cannot be used for anything else."""
_MOST_JSON_BYTES = 1 << 20
_DIGEST_CODE = "wire/digest.py"


class Untrusted(UserError, ValueError):
    """An archive that must not run: unsigned, altered, signed by no trusted key, or no archive."""


@dataclass(frozen=True)
class Signed:
    """An archive that was signed."""

    path: Path
    model: str
    version: str
    digest: str
    """Content digest, the same as before."""
    key_id: str
    """Id of the key that signed it."""
    signed_at: str
    """ISO 8601, UTC, by the signer's clock; not itself signed."""


@dataclass(frozen=True)
class Verified:
    """An archive as a trusted key has signed it."""

    model: str
    """By its manifest, as the version."""
    version: str
    digest: str
    """Content digest, which every answer of it carries."""
    signer: str
    """Name of the key: NAME of ``NAME.pub``."""


@dataclass(frozen=True)
class _Content:
    """An open archive whose members are known and whose manifest is read."""

    file: BinaryIO
    members: list[Member]
    manifest: bytes
    signature: bytes | None
    model: str
    version: str


def sign_archive(archive: Path, key: str | Path) -> Signed:
    """Sign an archive in place; an earlier signature is replaced, the content digest stays.

    Runs none of the archive's code. The file is replaced in one step; sign it once at a time.

    Parameters
    ----------
    key : str or Path
        The private key's file, or ``env:VARIABLE``: `signing.keys.load_private_key`.

    Raises
    ------
    BadKey
    Untrusted
        It could not be verified whoever signed it.
    """
    private = load_private_key(key)
    path = archive.resolve()
    label = f"{path.name}.signed"
    remove_unsettled(path.parent, label)
    with _open(path) as file, fresh_file(path.parent, label) as out:
        content = _read_content(path, file, MOST_BYTES)
        _check_digest_code(path, content)
        with ZipFile(out, "w", ZIP_DEFLATED) as copy:
            digest = _digest(path, content, copy)
            signed_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            signature = {
                "algorithm": ALGORITHM,
                "key_id": key_id(private.public_key()),
                "digest": digest,
                "signature": base64.b64encode(private.sign(SIGNED + digest.encode())).decode(),
                "signed_at": signed_at,
            }
            _write(copy, SIGNATURE, json.dumps(signature, indent=1).encode() + b"\n")
        settle(out, path, path.stat().st_mode & 0o777)
    return Signed(archive, content.model, content.version, digest, signature["key_id"], signed_at)


def verify_archive(
    archive: Path,
    trusted: Path,
    most_bytes: int = MOST_BYTES,
    copy: IO[bytes] | None = None,
    accepted: Collection[str] = (),
) -> Verified:
    """Verify an archive by the public keys in ``trusted``; runs none of its code.

    Everything that loads code by signature does so by this function: rollouts, CI, the registry, `serving`.

    Parameters
    ----------
    trusted : Path
        Folder of ``NAME.pub``, revoked keys and allowed digests: `signing.trust`.
    most_bytes : int
        Most that it may unpack to.
    copy : binary file, optional
        Where the archive is written anew, member by member, from the bytes that are verified: nothing else is in
        there, and the archive cannot be changed between verifying and using. Not compressed, since weights hardly
        get smaller. Of no use if this raises.
    accepted : collection of str
        Content digests that were verified before, while their keys had not expired.

    Raises
    ------
    Untrusted
        Says which: no archive, unsigned, signed by an unknown, revoked or expired key, a signature that was forged,
        altered since, or not among the digests that are allowed.
    """
    try:
        trust = read_trust(trusted)
    except BadKey as error:
        raise Untrusted(str(error)) from None
    with _open(archive) as file:
        content = _read_content(archive, file, most_bytes)
        signer, signed_digest = _check_signature(archive, content.signature, trust, accepted)
        if copy is None:
            digest = _digest(archive, content, None)
        else:
            with ZipFile(copy, "w") as out:
                digest = _digest(archive, content, out)
                _write(out, SIGNATURE, content.signature or b"")
    if digest != signed_digest:
        _refuse(archive, f"altered since {signer} signed it: expected content {signed_digest}, got {digest}")
    if (reason := trust.objection_to_content(digest)) is not None:
        _refuse(archive, reason)
    return Verified(content.model, content.version, digest, signer)


def read_digest(archive: Path) -> str:
    """Return the content digest of an archive in which nothing is hidden; raises `Untrusted` as `verify_archive`."""
    with _open(archive) as file:
        return _digest(archive, _read_content(archive, file, MOST_BYTES), None)


def read_identity(archive: Path) -> tuple[str, str]:
    """Return model and version by the manifest, whoever wrote it; raises `Untrusted` where that is no plain archive."""
    with _open(archive) as file:
        content = _read_content(archive, file, MOST_BYTES)
        return content.model, content.version


def _refuse(archive: Path, reason: str) -> NoReturn:
    raise Untrusted(f"{archive}: {reason}")


def _open(archive: Path) -> BinaryIO:
    if not archive.is_file():
        _refuse(archive, "expected a model archive, got no file")
    return archive.open("rb")


def _read_content(archive: Path, file: BinaryIO, most_bytes: int) -> _Content:
    try:
        members = list_members(file, most_bytes)
        small = {member.name: _read_small(file, member) for member in members if member.name in (MANIFEST, SIGNATURE)}
    except NotPlain as error:
        _refuse(archive, f"expected a model archive: {error}")
    if MANIFEST not in small:
        _refuse(archive, f"expected a model archive, got a zip file without {MANIFEST}")
    model, version = _identity(archive, small[MANIFEST])
    return _Content(file, members, small[MANIFEST], small.get(SIGNATURE), model, version)


def _read_small(file: BinaryIO, member: Member) -> bytes:
    if member.size > _MOST_JSON_BYTES:
        raise NotPlain(f"{member.name}: expected at most {_MOST_JSON_BYTES:,} bytes, got {member.size:,}")
    return b"".join(read_member(file, member))


def _identity(archive: Path, manifest: bytes) -> tuple[str, str]:
    fields = _strict_json(archive, MANIFEST, manifest)
    date, model = fields.get("createdOn", ""), fields.get("model")
    if not isinstance(date, str) or len(date) > 100 or not date.isprintable():  # the one thing that is not signed
        _refuse(archive, f"{MANIFEST}: expected a date as createdOn, got {date!r:.100}")
    if not isinstance(model, dict):
        _refuse(archive, f'{MANIFEST}: expected an object as "model", got {type(model).__name__}')
    for key, fits in (("modelName", is_model_name), ("modelVersion", is_version)):
        if not fits(model.get(key)):
            _refuse(archive, f"{MANIFEST}: expected a {key} of letters, digits and _ . -, got {model.get(key)!r:.100}")
    return model["modelName"], model["modelVersion"]


def _strict_json(archive: Path, name: str, data: bytes) -> dict[str, Any]:
    """Parse a JSON object that every parser reads alike: UTF-8, no key twice, no NaN."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key.lower() for key, _ in pairs}) != len(pairs):
            raise ValueError(f"expected every key once, got {[key for key, _ in pairs]}")
        return dict(pairs)

    def number(text: str) -> NoReturn:
        raise ValueError(f"expected finite numbers, got {text}")

    try:
        fields = json.loads(data.decode(), object_pairs_hook=unique, parse_constant=number)
        json.dumps(fields, allow_nan=False)  # 1e999 too
    except (ValueError, RecursionError) as error:
        _refuse(archive, f"{name}: expected JSON: {str(error) or type(error).__name__:.200}")
    if not isinstance(fields, dict):
        _refuse(archive, f"{name}: expected a JSON object, got {type(fields).__name__}")
    return fields


def _digest(archive: Path, content: _Content, out: ZipFile | None) -> str:
    """Return the content digest, and write what it is computed from to ``out``."""

    def pieces(member: Member) -> Iterable[bytes]:
        read = [content.manifest] if member.name == MANIFEST else read_member(content.file, member)
        if out is None:
            return read
        return write_member(out, member.name, read, member.size)

    def digests() -> Iterator[tuple[str, str]]:
        for member in content.members:
            if member.name != SIGNATURE:
                yield member.name, member_digest(member.name, pieces(member))

    try:
        return combined_digest(digests())
    except NotPlain as error:
        _refuse(archive, str(error))


def _write(out: ZipFile, name: str, data: bytes) -> None:
    for _ in write_member(out, name, [data], len(data)):
        pass


def _check_signature(
    archive: Path, signature: bytes | None, trust: Trust, accepted: Collection[str]
) -> tuple[str, str]:
    """Return who signed, and which digest; the archive itself may have another."""
    if signature is None:
        _refuse(archive, "expected a signed archive, got an unsigned one")
    fields = _strict_json(archive, SIGNATURE, signature)
    for field in ("algorithm", "key_id", "digest", "signature"):
        if not isinstance(fields.get(field), str):
            _refuse(archive, f'{SIGNATURE}: expected a text as "{field}", got {type(fields.get(field)).__name__}')
    if fields["algorithm"] != ALGORITHM or not re.fullmatch("[0-9a-f]{64}", fields["digest"]):
        _refuse(archive, f"{SIGNATURE}: expected {ALGORITHM} over a SHA-256, got {fields['algorithm']!r:.40}")
    if (reason := trust.objection_to_key(fields["key_id"], fields["digest"], accepted)) is not None:
        _refuse(archive, reason)
    key = trust.keys[fields["key_id"]]
    try:
        key.public.verify(base64.b64decode(fields["signature"], validate=True), SIGNED + fields["digest"].encode())
    except (InvalidSignature, binascii.Error, ValueError):
        _refuse(archive, f"expected the signature of {key.name}, got one that was not made with that key")
    return key.name, fields["digest"]


def _check_digest_code(archive: Path, content: _Content) -> None:
    """Refuse archives built before there were signatures: their worker would count one as content."""
    for member in content.members:
        if member.name == _DIGEST_CODE and SIGNATURE.encode() not in b"".join(read_member(content.file, member)):
            _refuse(archive, f"expected {_DIGEST_CODE} that leaves {SIGNATURE} out, got an older one: build it again")
