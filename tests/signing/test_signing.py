"""Signing an archive: the content stays, the signature names key, digest and time."""

import json
import shutil
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from forged_zip import entries_of, forge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signed_archives import EVIL, MANIFEST_SAYS, content, keys, mode, packed, signed

from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.signing.archive_signature import Untrusted, sign_archive, verify_archive
from nautilus_torchserve.signing.keys import BadKey
from nautilus_torchserve.signing.trust import read_trust
from nautilus_torchserve.wire.digest import MANIFEST, SIGNATURE, archive_digest

NAMES = st.from_regex(r"[a-c_][a-z0-9_.]{0,3}(/[a-c_][a-z0-9_.]{0,3})?", fullmatch=True)
ANYWHERE = [HealthCheck.function_scoped_fixture]


@settings(max_examples=40, deadline=None, suppress_health_check=ANYWHERE)
@given(st.dictionaries(NAMES, st.binary(max_size=40), max_size=5))
def test_signing_changes_no_content(pair: tuple[Path, Path], tmp_path: Path, members: dict[str, bytes]) -> None:
    key, trusted = pair
    archive = packed(tmp_path / "tick.mar", members)
    before, digest = content(archive), archive_digest(archive)

    try:
        once = sign_archive(archive, key)
    except Untrusted:  # a folder where a file is, __pycache__
        assert content(archive) == before
        return
    twice = sign_archive(archive, key)

    assert once.digest == twice.digest == archive_digest(archive) == verify_archive(archive, trusted).digest == digest
    assert content(archive) == before


def test_signing_twice_leaves_the_last_signature(pair: tuple[Path, Path], tmp_path: Path) -> None:
    bobs, trusted = keys(tmp_path, "bob")
    archive = signed(tmp_path / "tick.mar", pair[0])

    sign_archive(archive, bobs)

    assert verify_archive(archive, trusted).signer == "bob"
    with ZipFile(archive) as members:
        assert members.namelist().count(SIGNATURE) == 1
    with pytest.raises(Untrusted, match=r"keys there: alice \("):
        verify_archive(archive, pair[1])


def test_a_signature_names_key_digest_and_time(pair: tuple[Path, Path], tmp_path: Path) -> None:
    archive = packed(tmp_path / "tick.mar")
    archive.chmod(0o640)

    made = sign_archive(archive, pair[0])

    with ZipFile(archive) as members:
        signature = json.loads(members.read(SIGNATURE))
    assert (signature["key_id"], signature["digest"], signature["signed_at"]) == (
        made.key_id,
        made.digest,
        made.signed_at,
    )
    assert made.key_id in read_trust(pair[1]).keys
    assert made.signed_at.endswith("Z")
    assert (made.model, made.version) == ("tick", "1.0")
    assert mode(archive) == 0o640


def test_an_archive_that_cannot_be_verified_is_not_signed(pair: tuple[Path, Path], tmp_path: Path) -> None:
    archive = forge(tmp_path / "tick.mar", entries_of(packed(tmp_path / "x.mar")), after=EVIL)
    before = archive.read_bytes()

    with pytest.raises(Untrusted, match="something follows"):
        sign_archive(archive, pair[0])

    assert archive.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tick.mar", "x.mar"]


def test_an_archive_whose_worker_would_count_the_signature_is_not_signed(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    archive = packed(tmp_path / "tick.mar", {"wire/digest.py": b"def folder_digest(folder): ...\n"})

    with pytest.raises(Untrusted, match=r"expected wire/digest\.py that leaves MAR-INF/SIGNATURE\.json out"):
        sign_archive(archive, pair[0])


def test_a_link_to_an_archive_is_followed(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    archive = packed(tmp_path / "real" / "tick.mar")
    (tmp_path / "link.mar").symlink_to(archive)

    sign_archive(tmp_path / "link.mar", pair[0])

    assert (tmp_path / "link.mar").is_symlink()
    assert verify_archive(archive, pair[1]).signer == "alice"


def test_a_signed_archive_answers_as_before(
    pair: tuple[Path, Path], tick_archive: Path, tmp_path: Path, rows: np.ndarray
) -> None:
    archive = Path(shutil.copy(tick_archive, tmp_path))

    made = sign_archive(archive, pair[0])

    with connect(f"mar:{archive}", "tick") as after, connect(f"mar:{tick_archive}", "tick") as before:
        assert after.metadata.archive_digest == before.metadata.archive_digest == made.digest
        assert after.predict(rows).outputs["buy"].tobytes() == before.predict(rows).outputs["buy"].tobytes()


def test_an_archive_is_built_signed(pair: tuple[Path, Path], tick_run: Path, tmp_path: Path) -> None:
    built = build_archive("tick", tick_run, "1.0", tmp_path, sign_key=pair[0])

    verified = verify_archive(built.path, pair[1])

    assert (verified.digest, verified.signer) == (built.digest, "alice")
    assert built.key_id in read_trust(pair[1]).keys
    assert [path.name for path in tmp_path.iterdir()] == ["tick.mar"]


def test_no_unsigned_archive_is_left_where_a_key_was_given(tick_run: Path, tmp_path: Path) -> None:
    (tmp_path / "tick.mar").write_bytes(b"the one before")

    with pytest.raises(BadKey, match=r"missing\.key: expected a private key: No such file"):
        build_archive("tick", tick_run, "1.0", tmp_path, sign_key=tmp_path / "missing.key")

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("tick.mar", b"the one before")]


def test_the_manifest_of_the_small_archives_is_a_real_one(tick_archive: Path) -> None:
    with ZipFile(tick_archive) as members:
        manifest = json.loads(members.read(MANIFEST))

    assert MANIFEST_SAYS.keys() <= manifest.keys()
    assert MANIFEST_SAYS["model"].keys() <= manifest["model"].keys()  # type: ignore[attr-defined]
