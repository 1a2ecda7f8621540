"""Records of an experiment as routers and strategies write them, with known means."""

from collections.abc import Sequence

import numpy as np

from nautilus_torchserve.traffic.records import CallWindow, ClosedTrade, ScoredPrediction, latency_bucket
from nautilus_torchserve.traffic.split import Split

HOUR_NS = 3_600_000_000_000
START_NS = 1_700_000_000_000_000_000 // HOUR_NS * HOUR_NS
INSTRUMENTS = tuple(f"I{number}.SIM" for number in range(4))


def predictions(
    experiment: Split,
    version: str,
    count: int,
    accuracy: float,
    *,
    blocks: int = 25,
    instruments: Sequence[str] = INSTRUMENTS,
    hour: int = 0,
) -> list[ScoredPrediction]:
    """Return predictions in turns over instruments and hours; the right ones are drawn, in exactly that share."""
    right = np.random.default_rng(count).permutation(count) < round(count * accuracy)
    return [
        ScoredPrediction(
            experiment.name,
            experiment.model,
            version,
            instruments[number % len(instruments)],
            START_NS + (hour + number // len(instruments) % blocks) * HOUR_NS + number,
            "BUY",
            "BUY" if right[number] else "HOLD",
            1.0 if right[number] else -1.0,
        )
        for number in range(count)
    ]


def calls(
    experiment: Split,
    version: str,
    *,
    requests: int = 2_000,
    errors: int = 0,
    latency_ms: float = 1.0,
    windows: int = 4,
) -> list[CallWindow]:
    """Return windows a minute apart; half of the responses took 0.1 ms less, and half of them 0.1 ms more."""
    records = []
    for number in range(windows):
        failed = errors // windows
        answered = requests // windows - failed
        halves = {latency_ms - 0.1: answered // 2, latency_ms + 0.1: answered - answered // 2}
        records.append(
            CallWindow(
                experiment.name,
                experiment.model,
                version,
                "desk",
                START_NS + number * 60_000_000_000,
                requests // windows,
                failed,
                sum(latency * count for latency, count in halves.items()),
                sum(latency**2 * count for latency, count in halves.items()),
                {latency_bucket(latency): count for latency, count in halves.items()},
            )
        )
    return records


def trades(experiment: Split, version: str, returns_bps: Sequence[float]) -> list[ClosedTrade]:
    """Return a trade an hour, each of 10,000 of the quote currency."""
    return [
        ClosedTrade(
            experiment.name,
            experiment.model,
            version,
            INSTRUMENTS[number % len(INSTRUMENTS)],
            START_NS + number * HOUR_NS,
            START_NS + (number + 1) * HOUR_NS,
            return_bps,
            return_bps,
        )
        for number, return_bps in enumerate(returns_bps)
    ]
