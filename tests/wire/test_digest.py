"""The content digest names the content, not the packing."""

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.wire.digest import (
    MANIFEST,
    SIGNATURE,
    archive_digest,
    content_digest,
    folder_digest,
    member_digest,
)

MEMBERS = st.dictionaries(st.text("abc/.", min_size=1, max_size=6), st.binary(max_size=8), max_size=5)


@given(MEMBERS, st.randoms())
def test_order_does_not_matter(members: dict[str, bytes], random: object) -> None:
    shuffled = list(members.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert content_digest(shuffled) == content_digest(members.items())


@given(MEMBERS, MEMBERS)
def test_equal_digests_mean_equal_content(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert (content_digest(one.items()) == content_digest(other.items())) == (one == other)


def test_only_the_manifests_date_is_left_out() -> None:
    def packed(date: str, version: str) -> str:
        manifest = {"createdOn": date, "model": {"modelVersion": version}}
        return content_digest([(MANIFEST, json.dumps(manifest).encode())])

    assert packed("monday", "1.0") == packed("tuesday", "1.0")
    assert packed("monday", "1.0") != packed("monday", "2.0")


@given(MEMBERS, st.binary(max_size=8))
def test_a_signature_does_not_change_what_it_signs(members: dict[str, bytes], signature: bytes) -> None:
    assert content_digest([*members.items(), (SIGNATURE, signature)]) == content_digest(members.items())
    assert content_digest([*members.items(), (f"x/{SIGNATURE}", signature)]) != content_digest(members.items())


@given(st.binary(max_size=20), st.integers(1, 7))
def test_a_member_may_come_in_pieces(data: bytes, length: int) -> None:
    pieces = [data[at : at + length] for at in range(0, len(data), length)]

    assert member_digest("weights", pieces) == member_digest("weights", [data])


def test_a_name_cannot_pass_for_two_members() -> None:
    """Its line in what is hashed would be that of two honest members."""
    first, second = member_digest("a", [b"1"]), member_digest("b", [b"2"])
    assert first < second

    with pytest.raises(ValueError, match="without line breaks, got"):
        content_digest([(f"a\n{second}  b", b"1")])


def test_file_and_folder_agree_on_a_signed_archive(tmp_path: Path) -> None:
    members = {MANIFEST: b'{"createdOn": "monday"}', SIGNATURE: b"{}", "wire/x.py": b"x = 1\n"}
    with ZipFile(tmp_path / "x.mar", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.extractall(tmp_path / "unpacked")

    assert archive_digest(tmp_path / "x.mar") == folder_digest(tmp_path / "unpacked")
    assert archive_digest(tmp_path / "x.mar") == content_digest(members.items())
