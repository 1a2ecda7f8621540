"""Tokens that change: when the key file is read again, and what is kept when it cannot be."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nautilus_torchserve.serving.token_source import TokenSource
from nautilus_torchserve.serving.tokens import KEY_FILE, NoToken, read_key


def write(key_file: Path, token: str, ends: str | None = "2099-01-01T00:00:00.5Z") -> None:
    """Write a key file as TorchServe does."""
    expiry = {} if ends is None else {"expiration time": ends}
    key_file.write_text(json.dumps({"inference": {"key": token, **expiry}, "API": {"key": "renews"}}))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    write(tmp_path / KEY_FILE, "first")
    return tmp_path / KEY_FILE


def test_a_changed_file_is_read_again(key_file: Path) -> None:
    token = TokenSource(key_file)
    assert token() is None
    token.refresh()
    assert token() == "first"

    write(key_file, "second")

    assert token() == "first"
    token.refresh()
    assert token() == "second"


def test_a_refused_token_is_looked_for_in_the_file(key_file: Path) -> None:
    token = TokenSource(key_file)
    token.refresh()

    assert not token.replace("first")
    write(key_file, "second")
    assert token.replace("first")
    assert token() == "second"


def test_while_the_file_is_missing_or_half_written_the_token_stays(key_file: Path) -> None:
    token = TokenSource(key_file)
    token.refresh()

    key_file.write_text('{"inference": {')
    with pytest.raises(NoToken, match="expected TorchServe's key file, got JSON that ends early"):
        token.refresh()
    key_file.unlink()
    with pytest.raises(NoToken, match="got none"):
        token.refresh()

    assert token() == "first"
    write(key_file, "second")
    token.refresh()
    assert token() == "second"


def test_a_token_about_to_end_is_to_be_renewed_and_no_other(key_file: Path) -> None:
    unreachable = "http://127.0.0.1:9"
    write(key_file, "ends never", ends=None)
    TokenSource(key_file, unreachable).refresh()
    write(key_file, "ends in 2099")
    TokenSource(key_file, unreachable).refresh()

    write(key_file, "has ended", ends="2026-01-02T03:04:05.678901234Z")

    token = TokenSource(key_file, unreachable)
    with pytest.raises(NoToken, match="/token"):
        token.refresh()
    assert token() == "has ended"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02T03:04:05.5+01:00", "2026-01-02T03:04:05.500000+01:00"),
        ("+12026-01-02T03:04:05Z", None),
        (None, None),
    ],
)
def test_an_expiry_is_read_in_all_forms_that_java_prints(
    key_file: Path, written: str | None, expected: str | None
) -> None:
    write(key_file, "any", ends=written)

    ends = read_key(key_file, "inference").ends

    assert (None if ends is None else ends.isoformat()) == expected


@pytest.mark.parametrize("written", [1.7e9, "soon", [], {"a": 1}, "x" * 10_000, True])
def test_an_expiry_that_cannot_be_read_is_named_in_short(key_file: Path, written: object) -> None:
    write(key_file, "any", ends=written)  # type: ignore[arg-type]

    with pytest.raises(NoToken, match="inference: expiration time: expected an ISO 8601 time") as caught:
        read_key(key_file, "inference")
    assert len(f"{caught.value}".removeprefix(f"{key_file}")) < 200


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: os.mkfifo(path), lambda path: path.symlink_to(path)])
def test_anything_but_a_key_file_is_refused_by_name(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / KEY_FILE)

    with pytest.raises(NoToken, match="expected TorchServe's key file"):
        TokenSource(tmp_path / KEY_FILE, "http://127.0.0.1:9").replace("refused")


def test_the_end_of_a_token_is_read_to_the_microsecond(key_file: Path) -> None:
    write(key_file, "any", ends="2026-01-02T03:04:05.678901234Z")

    ends = read_key(key_file, "inference").ends

    assert ends is not None
    assert ends.isoformat() == "2026-01-02T03:04:05.678901+00:00"
