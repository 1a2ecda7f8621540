"""Loading of bars with the headlines about them from any source."""

from dataclasses import replace
from pathlib import Path

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.bars.simulator import MINUTE_NS, BarSimulatorConfig
from nautilus_torchserve.market.news.headlines import Headline, load_headlines
from nautilus_torchserve.market.news.simulator import NewsSimulatorConfig, load_labelled_texts, simulate_news
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.trades import BadData

DEMO_HEADLINES = Path(__file__).with_name("demo_headlines.csv")
"""Texts of the simulated market's headlines: invented."""


def load_news_bars(
    data: Path | str | None,
    news: Path | str | None,
    bars: int,
    seed: int,
    instrument_id: str | None = None,
    interval_ns: int | None = None,
    read: ReadOptions = ReadOptions(),  # noqa: B008, it is frozen
    delay_ns: int | None = None,
) -> tuple[Bars, list[Headline]]:
    """Load bars and headlines of one instrument; both or neither are simulated, as one moves the other.

    Parameters
    ----------
    data, bars, seed, instrument_id, interval_ns, read
        As for `market.bars.load.load_bars`.
    news : path, optional
        Files of headlines, as `market.news.headlines.load_headlines` takes them; None with ``data`` None simulates.
    delay_ns : int, optional
        From publication to receipt, where the file does not say; see
        `market.news.headlines.load_headlines`.

    Returns
    -------
    bars : Bars
        Its notes include what was assumed in reading the headlines.
    headlines : list of Headline

    Raises
    ------
    BadData
        Only one of the two is given, or what `load_bars` and `load_headlines` raise.
    """
    if data is None and news is None:
        config = NewsSimulatorConfig(bars=BarSimulatorConfig(interval_ns=interval_ns or MINUTE_NS))
        return simulate_news(bars, load_labelled_texts(DEMO_HEADLINES), seed, config)
    if data is None or news is None:
        given, missing = ("bars", "headlines") if news is None else ("headlines", "bars")
        raise BadData(f"{missing} expected beside the {given}: real ones and simulated ones have nothing in common")
    loaded = load_bars(data, bars, seed, instrument_id, interval_ns, read)
    headlines = load_headlines(Path(news), loaded.instrument.instrument_id, delay_ns, read)
    return replace(loaded, notes=(*loaded.notes, *headlines.notes)), headlines
