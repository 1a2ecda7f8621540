"""The server that options name."""

from pathlib import Path

import pytest

from nautilus_torchserve.release.rollout.target import NoTarget, named_target


def test_a_configuration_that_cannot_be_changed_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    config = tmp_path / "config.properties"
    config.write_bytes(b"\xef\xbb\xbfjob_queue_size=7\n")

    with pytest.raises(NoTarget, match=r"config\.properties:1: expected no byte order mark"):
        named_target(tmp_path, "http://a:1", "http://a:2", tmp_path, config=config)
