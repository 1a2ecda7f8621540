"""The feature benchmark runs and measures every form."""

import json

from support import run_script


def test_every_form_is_measured() -> None:
    result = run_script("scripts/bench_features.py", "--trades", "2000", "--rounds", "1", "--json")

    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert set(said["ticks_per_s"]) == {"streaming", "recomputed", "vectorised"}
    assert all(value > 0 for value in said["ticks_per_s"].values())
    assert said["streaming_to_recomputed"] > 0
