"""The same sweep on a local Ray cluster, started for it."""

import pytest

from nautilus_torchserve.trading.backtest.sweeps.grid import combinations, parse_grid
from nautilus_torchserve.trading.backtest.sweeps.point import Plan, run_point
from nautilus_torchserve.trading.checks import BadSetting

pytest.importorskip("ray", reason="Ray is an extra")
pytestmark = pytest.mark.slow  # `make test-slow` installs Ray, `make test` runs on what `make setup` alone installs


def test_ray_gives_the_results_of_a_sequential_run(plan: Plan) -> None:
    import ray

    from nautilus_torchserve.trading.backtest.sweeps.on_ray import LOCAL, run_on_ray

    tried = combinations(parse_grid(plan.settings, ["min_probability=0.34,0.36,2", "cooldown=1s,60s"]))
    done: list[tuple[int, int]] = []

    points = run_on_ray(plan, tried, jobs=2, address=LOCAL, on_done=lambda *counts: done.append(counts))

    assert points == [run_point(plan, combination) for combination in tried]
    assert [bool(trial.error) for trial in points] == [False] * 4 + [True] * 2
    assert sorted(done) == [(count, 6) for count in range(1, 7)]
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["ray://x:1", "auto", "x:", ":1"])
def test_an_address_in_another_form_is_refused(address: str, plan: Plan) -> None:
    from nautilus_torchserve.trading.backtest.sweeps.on_ray import run_on_ray

    with pytest.raises(BadSetting, match=f"expected Ray address local or HOST:PORT, got '{address}'"):
        run_on_ray(plan, [{"latency_ns": 1}], jobs=1, address=address)


def test_no_cluster_is_no_sweep(plan: Plan) -> None:
    from nautilus_torchserve.trading.backtest.sweeps.on_ray import run_on_ray

    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9: expected the head of a Ray cluster, got .*refused"):
        run_on_ray(plan, [{"latency_ns": 1}], jobs=1, address="127.0.0.1:9")
