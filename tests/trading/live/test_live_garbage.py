"""A live run as a user starts it, whose server responds with garbage: every order follows the fallback's response."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from misbehaving_server import MODES, MisbehavingServer, described, headed
from witness import read_events, witnessed

pytestmark = pytest.mark.slow

FALLBACK = "f" * 64


def test_no_order_is_placed_on_garbage(
    replay_file: Callable[..., Path], live_script: Callable[..., Any], tmp_path: Path
) -> None:
    lines = tmp_path / "lines.jsonl"
    modes = [mode for name, (mode, _) in MODES.items() if name not in ("never", "drips")]
    garbage = itertools.cycle(modes)
    with MisbehavingServer() as primary, MisbehavingServer() as fallback:
        primary.mode = lambda request: next(garbage)(request)
        fallback.describe = lambda request: described(archive_digest=FALLBACK)
        fallback.mode = headed(x_archive_digest=FALLBACK)
        actor = (
            f'[model.actor.live]\nfallback_urls = ["{fallback.url}"]\nfailures_to_open = 2\n'
            'probe_after_ns = "2ms"\nmax_probe_after_ns = "4ms"'
        )
        file = replay_file(primary.url, trades=1_500, speed=40.0, actor=actor, end=witnessed(lines))

        status, summary, err = live_script(file).wait()

        assert status == 0, err[-3000:]
        assert primary.requests >= len(modes), "every mode was requested"
        assert fallback.requests
    assert "Traceback" not in err
    events = read_events(lines)
    answered = [line for line in events if line["kind"] == "call" and "ANSWERED" in line["fates"]]
    assert answered
    decided = [line for line in events if line["kind"] == "decision" and line["side"]]
    assert decided, "the fallback's answers are traded on"
    assert {(line["status"], line["digest"]) for line in decided} == {("OK", FALLBACK)}
    assert not summary["failed"]
