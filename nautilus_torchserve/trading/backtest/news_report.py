"""What a bar backtest's report says of the news; nothing where the model reads none."""

from collections.abc import Sequence

from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.bars_results import BarResult
from nautilus_torchserve.trading.durations import format_duration


def with_news(result: BarResult) -> int:
    """Predictions that texts counted in."""
    return int((result.predictions["texts"] > 0).sum())


def news_labels(result: BarResult) -> dict[str, str]:
    """The headlines, among what was run on."""
    if result.news is None:
        return {}
    told, total = with_news(result), len(result.predictions)
    share = f" ({told / total:.1%})" if total else ""
    return {
        "Headlines received": f"{result.news.headlines:,}",
        "Predictions with news": f"{told:,} of {total:,}{share}",
    }


def news_notes(result: BarResult, metadata: ModelMetadata) -> list[str]:
    """What a reader must know of the news."""
    news, name = result.news, result.bars.instrument.instrument_id
    if news is None:
        return []
    if not news.headlines:
        return [f"NO HEADLINES on {name} in these bars' time: all forecasts are the price model's alone."]
    window = metadata.require_news()
    said = [
        f"A headline is told with the bars received after it (ts_init), the newest {window.max_texts}, for "
        f"{format_duration(window.max_age_ns)}; where there is none, the forecast is the price model's alone."
    ]
    if news.unread:
        said.append(f"{news.unread:,} headlines could not be read and were left out; the last: {news.last_refusal}")
    return said


def news_summary(results: Sequence[BarResult]) -> dict[str, int]:
    """The same in numbers, over some instruments; a headline on two of them counts twice."""
    counts = [result.news for result in results if result.news is not None]
    if not counts:
        return {}
    return {
        "headlines": sum(each.headlines for each in counts),
        "headlines_unread": sum(each.unread for each in counts),
        "with_news": sum(map(with_news, results)),
    }
