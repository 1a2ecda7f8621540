"""The limits of a worker fit those of TorchServe, and memory that is not there fails a request, not the process."""

import subprocess
import sys

import pytest

from nautilus_torchserve.serving.server.properties import read_properties
from nautilus_torchserve.wire.body import MAX_RESPONSE_SIZE
from nautilus_torchserve.wire.news_windows import MAX_CHARACTERS
from nautilus_torchserve.worker.limits import (
    BATCH_BYTES,
    DEFAULT_RESPONSE_BYTES,
    MEBIBYTE,
    read_limits,
    read_memory_headroom,
)
from support import PROJECT

ALLOCATE = """
import numpy as np
from nautilus_torchserve.worker.limits import MEBIBYTE, limit_memory
assert limit_memory(256 * MEBIBYTE) is not None
kept = [bytes(64 * MEBIBYTE) for _ in range(2)]
for allocate in (lambda: bytes(512 * MEBIBYTE), lambda: np.ones(64 * MEBIBYTE), lambda: "a" * (512 * MEBIBYTE)):
    try:
        allocate()
    except MemoryError:
        print("refused")
print(len(bytes(32 * MEBIBYTE)) == 32 * MEBIBYTE)
"""


@pytest.mark.parametrize("size", [None, 0, 1])
def test_lone_requests_have_torchserves_own_limits(size: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MAX_RESPONSE_SIZE, raising=False)

    limits = read_limits(size)

    assert (limits.body_bytes, limits.answer_bytes, limits.characters) == (None, 4 * MEBIBYTE, MAX_CHARACTERS)


@pytest.mark.parametrize("size", [2, 3, 8, 64, 1000])
def test_a_batch_of_the_largest_requests_stays_within_its_bounds(size: int) -> None:
    limits = read_limits(size)

    assert limits.body_bytes is not None
    assert size * limits.body_bytes <= BATCH_BYTES
    assert size * limits.answer_bytes <= BATCH_BYTES
    assert limits.answer_bytes <= DEFAULT_RESPONSE_BYTES
    assert size * limits.characters <= 2 * MAX_CHARACTERS


def test_the_default_is_the_configurations_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MAX_RESPONSE_SIZE, raising=False)
    configured = int(read_properties(PROJECT / "config.properties")["max_response_size"])

    assert read_limits(1).answer_bytes == configured == DEFAULT_RESPONSE_BYTES


def test_a_servers_own_limit_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAX_RESPONSE_SIZE, "1000")

    assert read_limits(1).answer_bytes == read_limits(8).answer_bytes == 1000


@pytest.mark.parametrize("size", ["", "-1", "4 MiB", "9" * 30])
def test_a_limit_that_is_no_size_is_named(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAX_RESPONSE_SIZE, size)

    with pytest.raises(ValueError, match=f"{MAX_RESPONSE_SIZE}: expected a number of bytes"):
        read_limits(1)


@pytest.mark.parametrize(
    ("config", "mebibytes"),
    [
        (None, 1024),
        ({}, 1024),
        ([], 1024),
        ({"memoryHeadroomMiB": 0}, 0),
        ({"memoryHeadroomMiB": 64}, 64),
    ],
)
def test_the_headroom_is_the_archives_or_a_default(config: object, mebibytes: int) -> None:
    assert read_memory_headroom(config) == mebibytes * MEBIBYTE


@pytest.mark.parametrize("value", ["1024", -1, 1.5, True, None, [], 10**30])
def test_a_headroom_that_is_no_size_is_named(value: object) -> None:
    with pytest.raises(ValueError, match="memoryHeadroomMiB: expected a whole number of MiB"):
        read_memory_headroom({"memoryHeadroomMiB": value})


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts mapped memory as data")
def test_what_is_not_there_is_refused_and_the_process_goes_on() -> None:
    result = subprocess.run([sys.executable, "-c", ALLOCATE], cwd=PROJECT, capture_output=True, text=True, check=True)

    assert result.stdout.split() == ["refused"] * 3 + ["True"]
