"""The content digest names the content, not the packing."""

import json

from hypothesis import given
from hypothesis import strategies as st

from wire.digest import MANIFEST, content_digest

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
