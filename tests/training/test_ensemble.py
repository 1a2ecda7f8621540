"""An ensemble's weights: fitted on what the price model has not seen, judged on what nothing has."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from news_run import write_backbone, write_sentiment_run
from price_run import write_price_run

from model_defs.news_pool import OUTPUTS, NewsPoolConfig, combine
from nautilus_torchserve.features.news_window import NewsWindowConfig
from nautilus_torchserve.inference.model_files import read_description, read_golden
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.simulator import MINUTE_NS
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.market.news.load import DEMO_HEADLINES, load_news_bars
from nautilus_torchserve.market.news.simulator import SIGNS, load_labelled_texts, simulate_news
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.training.ensemble.dataset import NewsPart, news_dataset
from nautilus_torchserve.training.ensemble.run import BadMember, evaluate_pool, fit_pool, log_loss, odds, train_ensemble
from nautilus_torchserve.wire.news_windows import NewsWindow

TEXTS = load_labelled_texts(DEMO_HEADLINES)
SCORES = {text.text: 0.9 * SIGNS[text.label] for text in TEXTS}


def perfect(texts: Sequence[str]) -> np.ndarray:
    """A sentiment model that knows what the simulator meant."""
    return np.array([SCORES[text] for text in texts])


@pytest.fixture(scope="module")
def market() -> tuple[Bars, list[Headline]]:
    return simulate_news(6000, TEXTS, seed=3)


@pytest.fixture(scope="module")
def price_run(market: tuple[Bars, list[Headline]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A price model whose record covers the first third."""
    seen = int(market[0].ts_event[2000])
    return write_price_run(tmp_path_factory.mktemp("runs") / "price", last_ts_event=seen)


@pytest.fixture(scope="module")
def sentiment_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    return write_sentiment_run(folder / "sentiment", write_backbone(folder / "bert"))


def part_of(price: np.ndarray, score: np.ndarray, rose: np.ndarray) -> tuple[NewsPart, np.ndarray]:
    """Return windows with one text each, and outputs of a price model whose log odds are ``price``."""
    count = len(price)
    part = NewsPart(
        rows=np.zeros((count, 1, 5), np.float32),
        returns=np.where(rose, 1e-4, -1e-4),
        ts_event=np.arange(count),
        counts=np.ones(count, np.int64),
        texts=("",) * count,
        scores=score,
        ages_s=np.zeros(count),
    )
    confidence = 1 / (1 + np.exp(-np.abs(price)))
    outputs = np.stack([np.full(count, 100.0), np.sign(price), np.full(count, 5.0), confidence], axis=1)
    return part, outputs.astype(np.float32)


@pytest.mark.parametrize("weights", [(1.5, 0.3), (0.5, 1.0), (1.0, 0.0)])
def test_weights_that_made_the_moves_are_found_again(weights: tuple[float, float]) -> None:
    random = np.random.default_rng(5)
    price, score = random.normal(0, 0.6, 40_000), random.uniform(-0.95, 0.95, 40_000)
    news = np.log1p(score) - np.log1p(-score)
    rose = random.random(40_000) < 1 / (1 + np.exp(-(weights[0] * price + weights[1] * news)))

    pool = fit_pool(*part_of(price, score, rose), MINUTE_NS)

    assert (pool.weight_price, pool.weight_sentiment) == pytest.approx(weights, abs=0.06)


def test_news_against_the_moves_gets_no_weight() -> None:
    random = np.random.default_rng(6)
    price, score = random.normal(0, 0.6, 5000), random.uniform(-0.9, 0.9, 5000)

    pool = fit_pool(*part_of(price, score, score < 0), MINUTE_NS)

    assert pool.weight_sentiment == 0.0


def test_parts_follow_the_price_models_fit_and_share_no_bar(
    market: tuple[Bars, list[Headline]], price_run: Path
) -> None:
    bars, headlines = market
    price, config = read_description(price_run), NewsWindowConfig(max_age_ns=1800 * 10**9, max_texts=3)

    dataset = news_dataset(bars, headlines, price, config, perfect)

    window_ns = 59 * MINUTE_NS
    assert dataset.fit.ts_event[0] - window_ns > price["training"]["last_ts_event"]
    assert dataset.test.ts_event[0] - window_ns > dataset.last_ts_event
    assert dataset.last_ts_event == dataset.fit.ts_event[-1] + MINUTE_NS
    for part in (dataset.fit, dataset.test):
        first = np.cumsum(part.counts) - part.counts
        for at in range(0, len(part), 97):
            now = part.ts_event[at]
            recent = [
                headline
                for headline in headlines
                if headline.ts_init < now and now - headline.ts_init <= config.max_age_ns
            ][-3:]
            texts = part.texts[first[at] : first[at] + part.counts[at]]
            ages = part.ages_s[first[at] : first[at] + part.counts[at]]
            assert list(texts) == [headline.text for headline in recent]
            assert ages.tolist() == [(now - headline.ts_init) / 1e9 for headline in recent]


def test_news_that_moves_the_market_has_a_gain(market: tuple[Bars, list[Headline]], price_run: Path) -> None:
    bars, headlines = market
    dataset = news_dataset(bars, headlines, read_description(price_run), NewsWindowConfig(), perfect)
    flat = {part: np.tile(np.float32([100, 0, 5, 0.5]), (len(part.rows), 1)) for part in (dataset.fit, dataset.test)}

    pool = fit_pool(dataset.fit, flat[dataset.fit], MINUTE_NS)
    evaluation = evaluate_pool(dataset.test, flat[dataset.test], pool, 60, seed=1)

    assert pool.weight_sentiment > 0
    assert evaluation["gain"]["interval"][0] > 0
    assert "The news adds" in evaluation["edge"]
    tensors = odds(dataset.test, flat[dataset.test], pool.half_life_s)
    assert evaluation["scores"]["ensemble"]["log_loss"] == log_loss(pool.weight_sentiment * tensors.news, tensors.rose)


def test_too_few_headlines_are_refused(market: tuple[Bars, list[Headline]], price_run: Path) -> None:
    bars, headlines = market

    with pytest.raises(BadData, match=r"expected at least 50 windows with news .* got \d+ of \d+, with 2 headlines"):
        news_dataset(bars, headlines[:2], read_description(price_run), NewsWindowConfig(), perfect)


def test_bars_of_another_length_are_refused(price_run: Path) -> None:
    bars, headlines = load_news_bars(None, None, 300, 1, interval_ns=5 * MINUTE_NS)

    with pytest.raises(BadData, match="expected bars of 60 s as the price model, got 300 s"):
        news_dataset(bars, headlines, read_description(price_run), NewsWindowConfig(), perfect)


def test_only_one_of_bars_and_headlines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="headlines expected beside the bars"):
        load_news_bars(tmp_path / "bars.csv", None, 300, 1)


def test_packed_ensemble_predicts_as_its_members(
    market: tuple[Bars, list[Headline]], price_run: Path, sentiment_run: Path, tmp_path: Path
) -> None:
    bars, headlines = market
    last = headlines[-1]
    unreadable = Headline("Прибыль выросла", "x", last.instrument_ids, last.ts_event, last.ts_init)

    result = train_ensemble(bars, [*headlines, unreadable], price_run, sentiment_run, tmp_path / "ensemble")
    again = train_ensemble(bars, [*headlines, unreadable], price_run, sentiment_run, tmp_path / "again")

    assert result.description["training"]["headlines_refused"] == 1
    assert result.description["training"]["last_ts_event"] > read_description(price_run)["training"]["last_ts_event"]
    one, other = (build_archive("ensemble", run.folder, "1.0", run.folder / "report") for run in (result, again))
    assert one.digest == other.digest  # the same inputs, the same archive
    inputs = read_golden(result.folder).inputs
    for run, model in ((price_run, "price"), (sentiment_run, "sentiment")):
        build_archive(model, run, "1.0", tmp_path / "store")
    archives = {"ensemble": one.path} | {model: tmp_path / "store" / f"{model}.mar" for model in ("price", "sentiment")}
    first = np.cumsum(inputs["counts"]) - inputs["counts"]
    windows = [
        NewsWindow(row, *(tuple(inputs[name][at : at + count].tolist()) for name in ("texts", "ages_s")))
        for row, at, count in zip(inputs["rows"], first, inputs["counts"], strict=True)
    ]
    with (
        connect(f"mar:{archives['ensemble']}", "ensemble") as ensemble,
        connect(f"mar:{archives['price']}", "price") as price,
        connect(f"mar:{archives['sentiment']}", "sentiment") as sentiment,
    ):
        together = ensemble.predict(windows)
        forecast = np.stack(list(price.predict(inputs["rows"]).outputs.values()), axis=1)
        scores = sentiment.predict(inputs["texts"].tolist()).outputs["score"]
    pool = NewsPoolConfig(**result.description["network"]["config"])
    tensors = (torch.from_numpy(values) for values in (forecast, scores.copy(), inputs["ages_s"], inputs["counts"]))
    expected = combine(*tensors, pool).numpy()
    assert inputs["counts"].max() > 1
    assert {name: values.tobytes() for name, values in together.outputs.items()} == {
        name: values.tobytes() for name, values in zip(OUTPUTS, expected.T, strict=True)
    }


def test_a_run_of_another_model_is_no_member(
    market: tuple[Bars, list[Headline]], price_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadMember, match="expected a run of 'sentiment', got one of 'price'"):
        train_ensemble(*market, price_run, price_run, tmp_path / "ensemble")
    with pytest.raises(BadMember, match="expected a price model's run folder"):
        train_ensemble(*market, tmp_path / "nothing", price_run, tmp_path / "ensemble")
