"""Keys that expire or are revoked, an allow-list of digests, folders that others can write to."""

import json
import os
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from signed_archives import keys, mode, signed
from typer.testing import CliRunner

from nautilus_torchserve.release.rollout.model_store import store_verified
from nautilus_torchserve.signing.archive_signature import Untrusted, read_digest, sign_archive, verify_archive
from nautilus_torchserve.signing.keys import BadKey, make_key
from nautilus_torchserve.signing.trust import read_trust, revoke, writable_by_others
from support import PROJECT, script_app

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
KEYS = script_app(PROJECT / "scripts" / "keys.py")


def called(*arguments: str | Path) -> dict:
    result = CliRunner().invoke(KEYS, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def alice(tmp_path: Path) -> tuple[Path, Path]:
    """Her private key, and the folder that trusts her."""
    return keys(tmp_path)


@pytest.fixture
def archive(alice: tuple[Path, Path], tmp_path: Path) -> Path:
    return signed(tmp_path / "tick.mar", alice[0])


def let_expire(trusted: Path, name: str = "alice") -> None:
    """Give a public key that has no expiry one that has passed."""
    path = trusted / f"{name}.pub"
    path.write_text(f"# of the desk\nexpires: {NOW - DAY:%Y-%m-%d}\n\n{path.read_text()}")


def test_an_expired_key_vouches_only_for_digests_accepted_before(archive: Path, alice: tuple[Path, Path]) -> None:
    trusted = alice[1]
    digest = verify_archive(archive, trusted).digest
    let_expire(trusted)

    with pytest.raises(Untrusted, match=rf"alice \(\w+\), expired {NOW - DAY:%Y-%m-%d}: .*sign"):
        verify_archive(archive, trusted)
    with pytest.raises(Untrusted, match="expired"):
        verify_archive(archive, trusted, accepted={"0" * 64})
    assert verify_archive(archive, trusted, accepted={digest}).signer == "alice"
    (trusted / "allowed_digests").write_text(digest)
    assert verify_archive(archive, trusted).digest == digest


def test_a_key_signs_until_it_expires(tmp_path: Path, archive: Path) -> None:
    for name, expires in (("old", NOW - DAY), ("new", NOW + DAY)):
        make_key(tmp_path / f"{name}.key", tmp_path / "trusted" / f"{name}.pub", expires)

    assert sign_archive(archive, tmp_path / "new.key").key_id in read_trust(tmp_path / "trusted").keys
    assert verify_archive(archive, tmp_path / "trusted").signer == "new"
    with pytest.raises(BadKey, match=rf"old\.key: .*expired {NOW - DAY:%Y-%m-%d}"):
        sign_archive(archive, tmp_path / "old.key")


def test_a_revoked_key_vouches_for_nothing(archive: Path, alice: tuple[Path, Path], tmp_path: Path) -> None:
    trusted = alice[1]
    digest = verify_archive(archive, trusted).digest
    (trusted / "allowed_digests").write_text(digest)

    revoked = called("revoke", "alice", "--reason", "laptop\nstolen", "--trusted", trusted)["key_id"]
    called("revoke", revoked, "--trusted", trusted)

    assert (trusted / "revoked").read_text().count(revoked) == 1
    (trusted / "alice.pub").rename(trusted / "bob.pub")  # a renamed key is the same key
    with pytest.raises(Untrusted, match=rf"got bob \({revoked}\), revoked in .*laptop stolen; .*sign"):
        verify_archive(archive, trusted, accepted={digest})
    (trusted / "bob.pub").unlink()
    with pytest.raises(Untrusted, match="revoked in"):
        verify_archive(archive, trusted)
    other, _ = keys(tmp_path, "carol")
    sign_archive(archive, other)
    assert verify_archive(archive, trusted).signer == "carol"


def test_the_allow_list_refuses_older_signed_versions(archive: Path, alice: tuple[Path, Path], tmp_path: Path) -> None:
    key, trusted = alice
    newer = signed(tmp_path / "newer.mar", key, {"tick_handler.py": b"print('fixed')\n"})
    (trusted / "allowed_digests").write_text(f"# reviewed\n\n{read_digest(newer).upper()}  # tick 1.1\n")

    assert verify_archive(newer, trusted).signer == "alice"
    with pytest.raises(Untrusted, match=rf"expected one of the 1 digests in .*, got {read_digest(archive)}"):
        verify_archive(archive, trusted)
    (tmp_path / "store").mkdir()
    with pytest.raises(Untrusted, match="allowed_digests"):
        store_verified(archive, trusted, tmp_path / "store", "tick")
    assert list((tmp_path / "store").iterdir()) == []


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "line of another form": (lambda t: (t / "revoked").write_text("# ok\nalice\n"), "revoked:2: expected 16 hexadec.*"),
    "short digest": (lambda t: (t / "allowed_digests").write_text("ab" * 31), "allowed_digests:1: expected 64 hexadec"),
    "no text": (lambda t: (t / "revoked").write_bytes(b"\xff\xfe"), "revoked: expected UTF-8 text"),
    "folder": (lambda t: (t / "revoked").mkdir(), "revoked: expected a file, got none"),
    "pipe": (lambda t: os.mkfifo(t / "bob.pub"), r"bob\.pub: expected a file, got none"),
    "dangling link": (lambda t: (t / "allowed_digests").symlink_to("x"), "allowed_digests: No such file"),
    "huge": (lambda t: (t / "revoked").write_bytes(b"#" * (1 << 21)), "revoked: expected at most"),
    "other name": (lambda t: (t / "allow.txt").touch(), "expected revoked or allowed_digests as a file's name"),
    "other case": (lambda t: (t / "Revoked").touch(), "expected revoked or allowed_digests as a file's name"),
    "date": (lambda t: prepend(t, "expires: soon\n"), r"alice\.pub: expected expires as an ISO 8601 date, got 'soon'"),
    "year": (lambda t: prepend(t, "expires: 99999-01-01\n"), "expected expires as an ISO 8601 date"),
    "typing error": (lambda t: prepend(t, "expire: 2030-01-01\n"), "expected comments and one line 'expires: DATE'"),
    "two dates": (lambda t: prepend(t, "expires: 2030-01-01\nexpires: 2099-01-01\n"), "expected comments and one line"),
    "two keys": (lambda t: prepend(t, (t / "alice.pub").read_text()), "expected one key and nothing after it"),
    "date after it": (lambda t: prepend(t, "", "expires: 2030-01-01"), "expected one key and nothing after it"),
}


def prepend(trusted: Path, before: str, after: str = "") -> None:
    path = trusted / "alice.pub"
    path.write_text(before + path.read_text() + after)


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_folder_that_does_not_read_trusts_nothing(
    archive: Path, alice: tuple[Path, Path], damage: Callable[[Path], object], reason: str
) -> None:
    damage(alice[1])

    with pytest.raises(Untrusted, match=reason) as caught:
        verify_archive(archive, alice[1])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


OPEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (lambda t: t.chmod(0o777), r"trusted: expected to be writable for its owner only, got mode 0777"),
    "sticky folder": (lambda t: t.chmod(0o1777), r"trusted: .* got mode 1777 \(chmod go-w\)"),
    "key": (lambda t: (t / "alice.pub").chmod(0o646), r"alice\.pub: .* got mode 0646"),
    "list": (lambda t: ((t / "revoked").touch(), (t / "revoked").chmod(0o666)), r"revoked: .* got mode 0666"),
    "parent": (lambda t: t.parent.chmod(0o777), "expected to be writable for its owner only, got mode 0777"),
}


@pytest.mark.parametrize(("opened", "reason"), OPEN.values(), ids=OPEN)
def test_a_trust_folder_that_others_can_write_to_is_refused(
    archive: Path, alice: tuple[Path, Path], opened: Callable[[Path], object], reason: str
) -> None:
    opened(alice[1])

    with pytest.raises(Untrusted, match=reason):
        verify_archive(archive, alice[1])


def test_a_link_is_judged_by_where_it_lies_and_where_it_leads(alice: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(alice[1])
    (tmp_path / "open" / "link").symlink_to(alice[1])
    (tmp_path / "inside").symlink_to("open/link")
    (tmp_path / "round").symlink_to("round")

    assert writable_by_others(tmp_path / "link") is None
    assert writable_by_others(tmp_path / "open" / ".." / "link") is not None
    assert "open: expected to be writable" in str(writable_by_others(tmp_path / "open" / "link"))
    assert "open: expected to be writable" in str(writable_by_others(tmp_path / "inside"))
    assert "links" in str(writable_by_others(tmp_path / "round"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("given", ["trusted/alice.pub", "trusted", "."])
def test_a_trust_folder_of_another_user_is_refused(
    archive: Path, alice: tuple[Path, Path], tmp_path: Path, given: str
) -> None:
    os.chown(tmp_path / given, 65534, 65534)

    with pytest.raises(Untrusted, match=r"expected to be owned by root or root, got (nobody|user 65534)"):
        verify_archive(archive, alice[1])


def test_a_private_group_may_write_and_another_may_not(alice: tuple[Path, Path], tmp_path: Path) -> None:
    alice[1].chmod(0o775)
    assert writable_by_others(alice[1]) is None  # root's own group has no other member
    if os.geteuid() == 0:
        os.chown(alice[1], 0, 65534)
        assert "got mode 0775 (chmod go-w)" in str(writable_by_others(alice[1]))


def test_a_user_with_rights_of_an_access_list_may_not_write(alice: tuple[Path, Path]) -> None:
    everything, nothing, nobody = 7, 2**32 - 1, 65534
    entries = [
        (0x01, everything, nothing),
        (0x02, everything, nobody),
        (0x04, 5, nothing),
        (0x10, everything, nothing),
        (0x20, 5, nothing),
    ]  # owner, a user, group, mask, others
    content = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(alice[1], "system.posix_acl_access", content)
    except OSError:
        pytest.skip("this file system has no access control lists")

    assert "trusted: expected to be writable for its owner only" in str(writable_by_others(alice[1]))


def test_keys_are_listed_with_their_expiry_and_revocation(tmp_path: Path) -> None:
    options = ("--trusted", tmp_path / "trusted")
    made = called("desk", "--private", tmp_path / "desk.key", *options)  # `create` is meant
    made |= {"never": called("create", "ci", "--expires", "never", "--private", tmp_path / "ci.key", *options)}
    called("revoke", "f" * 16, *options)

    listed = {key["name"]: key for key in called("list", *options)["keys"]}

    assert (listed["desk"]["state"], listed["ci"]["expires"], listed[None]["key_id"]) == ("valid", None, "f" * 16)
    days = (datetime.fromisoformat(listed["desk"]["expires"]) - NOW).days
    assert days in (364, 365)
    assert mode(tmp_path / "desk.key") == 0o600


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("create", "x", "--expires", "2020-01-01"), 2, "expected a date to come"),
        (("create", "x", "--expires", "soon"), 2, "expected 365d, 2027-12-31 or never"),
        (("create", "x", "--expires", "9999999999d"), 2, "expected 365d"),
        (("revoke", "carol"), 1, "'carol': expected the name of a key in"),
    ],
)
def test_invalid_arguments_are_refused_with_the_reason(
    alice: tuple[Path, Path], arguments: tuple[str, ...], status: int, reason: str
) -> None:
    result = CliRunner().invoke(KEYS, [*arguments, "--trusted", str(alice[1])])

    assert result.exit_code == status
    assert reason in " ".join(result.stderr.replace("│", " ").split())
    assert sorted(path.name for path in alice[1].iterdir()) == ["alice.pub"]


def test_a_key_name_is_not_searched_as_a_pattern(alice: tuple[Path, Path]) -> None:
    with pytest.raises(BadKey, match="expected the name of a key"):
        revoke(alice[1], "*", "")
