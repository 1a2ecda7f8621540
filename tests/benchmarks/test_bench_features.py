"""The feature benchmark runs and measures every form."""

import json

from support import call_script


def test_every_form_is_measured() -> None:
    result = call_script("scripts/bench_features.py", "--trades", "2000", "--rounds", "1", "--json")

    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert set(summary["ticks_per_s"]) == {"streaming", "recomputed", "vectorised"}
    assert all(value > 0 for value in summary["ticks_per_s"].values())
    assert summary["streaming_to_recomputed"] > 0
