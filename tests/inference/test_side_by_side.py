"""Two computations: both results, whichever way is quicker, and an error of either."""

import threading
import time

import pytest

from nautilus_torchserve.inference.models.ensemble import SideBySide


def wait() -> None:
    """Work that leaves the core to others."""
    time.sleep(0.01)


def test_waits_of_two_are_spent_at_once() -> None:
    pair = SideBySide(wait, wait)

    assert pair.at_once
    assert pair.run(lambda: "one", lambda: "other") == ("one", "other")
    assert pair.run(threading.get_ident, threading.get_ident)[0] != threading.get_ident()


def test_work_too_small_to_share_is_done_one_after_the_other() -> None:
    pair = SideBySide(lambda: None, lambda: None)

    assert not pair.at_once
    assert pair.run(threading.get_ident, threading.get_ident) == (threading.get_ident(),) * 2


@pytest.mark.parametrize("work", [wait, lambda: None], ids=["at once", "one after the other"])
def test_an_error_of_either_is_raised(work: object) -> None:
    def fail() -> None:
        raise KeyError("it")

    pair = SideBySide(work, work)  # type: ignore[arg-type]

    for both in ((fail, wait), (wait, fail)):
        with pytest.raises(KeyError):
            pair.run(*both)
    assert pair.run(lambda: 1, lambda: 2) == (1, 2)
