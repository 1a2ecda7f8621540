"""A simulated market that news moves, for trials without market data.

Headlines are published as a Poisson process, each drawn at random from a set of labelled ones, and received
``delay_ns`` later. Beginning with the first bar that opens after a headline's receipt, the bars of
`market.bars.simulator` drift by ``sign * impact_bps`` in all, where the sign is the label's. The
drift's share in the
j-th of these ``reaction_bars`` bars is proportional to ``decay**j``; drifts of several headlines add up. Until the
close of the bar in which the first headline is received, the market is, bit for bit, the one without any news.

So a reader of a headline at its receipt can predict the next bars a little, by construction: neither a model nor a
trading result on this market says anything about a real market or about real news.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.simulator import BarSimulatorConfig, simulate_bars
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.market.trades.simulator import INSTRUMENT, START_NS
from nautilus_torchserve.market.trades.trades import BadData, Instrument

SIGNS = {"negative": -1, "neutral": 0, "positive": 1}
"""Label -> where the price goes."""
COLUMNS = ["label", "text"]


@dataclass(frozen=True)
class LabelledText:
    """A text that a headline may have, with its label."""

    label: str
    """One of `SIGNS`."""
    text: str

    def __post_init__(self) -> None:
        if self.label not in SIGNS:
            raise BadData(f"expected label {' or '.join(SIGNS)}, got {self.label!r}")
        if not self.text.strip():
            raise BadData(f"expected a headline's text, got {self.text!r}")


@dataclass(frozen=True)
class NewsSimulatorConfig:
    """The market and its news."""

    bars: BarSimulatorConfig = field(default_factory=BarSimulatorConfig)
    """The market without news."""
    mean_bars_between: float = 20.0
    """Mean time between two publications, in bars."""
    delay_ns: int = 2_000_000_000
    """Time from publication to receipt (nanoseconds)."""
    reaction_bars: int = 15
    """Bars over which the price reacts to a headline."""
    impact_bps: float = 30.0
    """By how much the price reacts to one headline in all (bps, as a log return)."""
    decay: float = 0.85
    """Reaction in a bar as a share of that in the bar before, in (0, 1]."""

    def __post_init__(self) -> None:
        if not 0 < self.mean_bars_between < np.inf:
            raise ValueError(f"expected mean_bars_between above 0, got {self.mean_bars_between}")
        if self.delay_ns < 1:
            raise ValueError(f"expected delay_ns of at least 1 (nothing is known at once), got {self.delay_ns}")
        if self.reaction_bars < 1:
            raise ValueError(f"expected reaction_bars of at least 1, got {self.reaction_bars}")
        if not 0 <= self.impact_bps < np.inf:
            raise ValueError(f"expected impact_bps of at least 0, got {self.impact_bps}")
        if not 0 < self.decay <= 1:
            raise ValueError(f"expected decay above 0 and at most 1, got {self.decay}")
        if self.bars.interval_ns < 3:
            raise ValueError(f"expected bars of at least 3 ns, got {self.bars.interval_ns}")


def load_labelled_texts(path: Path) -> tuple[LabelledText, ...]:
    """Read a CSV file with the columns label and text, such as ``corpus/demo_headlines.csv``.

    Raises
    ------
    BadData
        Naming file, line, what it was and what was expected.
    """
    if not path.is_file():
        raise BadData(f"{path}: expected a file of labelled headlines, got a path that does not exist")
    texts = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        line = 1
        try:
            for row in reader:
                if line == 1 and row != COLUMNS:
                    raise BadData(f"expected a header of {','.join(COLUMNS)}, got {row}")
                if len(row) != len(COLUMNS):
                    raise BadData(f"expected {len(COLUMNS)} cells, got {row}")
                if line > 1:
                    texts.append(LabelledText(*row))
                line = reader.line_num + 1
        except (BadData, csv.Error, UnicodeDecodeError) as error:
            raise BadData(f"{path.name}: line {line}: {error}") from None
    if not texts:
        raise BadData(f"{path.name}: expected at least one labelled headline, got none")
    return tuple(texts)


def simulate_news(
    bars: int,
    texts: Sequence[LabelledText],
    seed: int = 1,
    config: NewsSimulatorConfig | None = None,
    instrument: Instrument | None = None,
) -> tuple[Bars, list[Headline]]:
    """Simulate bars from 2024-01-01 UTC on, and the headlines that move them; the same seed, the same of both.

    Parameters
    ----------
    bars : int
        How many, at least 1.
    texts : sequence of LabelledText
        What headlines may say; each is drawn as often as any other.
    seed : int
        Of all that is random; bars without news are those of ``simulate_bars`` with this seed.
    config : NewsSimulatorConfig, optional
        Another market than the default of 1-minute bars.
    instrument : Instrument, optional
        Another name and other precisions than SIMUSD.SIM's.

    Returns
    -------
    Bars
        Simulated, and marked so.
    list of Headline
        By time of receipt, which is before the last bar's close. No headline is published or received at the
        very time at which a bar closes.

    Raises
    ------
    ValueError
        No bars or no texts, or a price or volume that reached 2**53 steps.
    """
    config, instrument = config or NewsSimulatorConfig(), instrument or INSTRUMENT
    if bars < 1 or not texts:
        raise ValueError(f"expected at least 1 bar and 1 text, got {bars} and {len(texts)}")
    rng = np.random.default_rng([seed, 1])  # apart from the bars' own, which stay what they are without news
    published = _publications(bars, rng, config)
    drawn = rng.integers(len(texts), size=len(published))
    signs = np.array([SIGNS[texts[text].label] for text in drawn], dtype=np.int64)
    drift = _drift(bars, published + config.delay_ns, signs, config)
    made = simulate_bars(bars, seed, config.bars, instrument, drift)
    headlines = [
        Headline(texts[text].text, "simulated", (instrument.instrument_id,), time, time + config.delay_ns)
        for text, time in zip(drawn, published.tolist(), strict=True)
    ]
    return replace(made, source=f"simulated bars with simulated news (seed {seed})"), headlines


def _publications(bars: int, rng: np.random.Generator, config: NewsSimulatorConfig) -> NDArray[np.int64]:
    """Return when headlines are published, Unix ns [n], of those received before the last bar closes."""
    interval_ns = config.bars.interval_ns
    length = bars * interval_ns
    times: list[int] = []
    now = 0.0
    while True:
        now += rng.exponential(config.mean_bars_between * interval_ns)
        time = int(now)
        while time % interval_ns == 0 or (time + config.delay_ns) % interval_ns == 0:
            time += 1
        if time + config.delay_ns >= length:
            return START_NS + np.array(times, dtype=np.int64)
        times.append(time)


def _drift(
    bars: int, received: NDArray[np.int64], signs: NDArray[np.int64], config: NewsSimulatorConfig
) -> NDArray[np.float64]:
    """Return the effect of news on each bar's log return [bars]: 0 in the bar in which it is received."""
    shares = config.decay ** np.arange(config.reaction_bars)
    reaction = config.impact_bps / 1e4 * shares / shares.sum()
    drift = np.zeros(bars + 1 + config.reaction_bars)
    for bar, sign in zip((received - START_NS) // config.bars.interval_ns, signs, strict=True):
        drift[bar + 1 : bar + 1 + config.reaction_bars] += sign * reaction
    return drift[:bars]
