"""Trains an ensemble: from two runs, bars and headlines to a run folder."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from model_defs.news_pool import OUTPUTS, NewsPoolConfig, combine, log_odds_of_score, log_odds_up, sentiment_of
from model_defs.return_network import ReturnNetwork
from nautilus_torchserve.features.news_window import NewsWindowConfig
from nautilus_torchserve.inference.model_files import BadArchive, build_network, members, read_description
from nautilus_torchserve.inference.text_model import TextNetwork
from nautilus_torchserve.inference.tiles import load_network
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.market.price_sketch import fit_record
from nautilus_torchserve.models.table import ENSEMBLE, PRICE, SENTIMENT
from nautilus_torchserve.scores.classification import odds_log_losses
from nautilus_torchserve.training.ensemble.dataset import NewsDataset, NewsPart, news_dataset
from nautilus_torchserve.training.fit.bootstrap import CONFIDENCE, Blocks, interval, is_gain, is_loss
from nautilus_torchserve.training.price.records import predict_windows
from nautilus_torchserve.training.runs.result import (
    TrainingResult,
    check_replaceable,
    describe_run,
    golden_places,
    replace_run,
    working_folder,
    write_run,
)
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.errors import BadText

HALF_LIVES_BARS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Half-lives to choose from, in bars."""
_LARGEST_WEIGHT = 10.0
_DECIMALS = 4
"""Decimals of the gain and its interval in sentences."""
_BATCH_TEXTS = 64
"""Number of texts that are scored together."""
_MEMBER_SECTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    PRICE.name: {
        "bars": ("interval_ns", "max_gap_ns", "indicators"),
        "label": ("horizon_bars",),
        "training": ("last_ts_event",),
        "metrics": ("edge",),
    },
    SENTIMENT.name: {"training": ()},
}
"""Sections and fields that the description of a member must have."""


class BadMember(UserError, ValueError):
    """A run folder that cannot be a member of an ensemble; names it."""


def train_ensemble(
    bars: Bars,
    headlines: Sequence[Headline],
    price_run: Path,
    sentiment_run: Path,
    out: Path,
    news: NewsWindowConfig = NewsWindowConfig(),  # noqa: B008
    seed: int = 1,
) -> TrainingResult:
    """Fit the pool's weights and write the run folder, with both members inside.

    The weights are fitted on the first half of the bars that the price model's fit has not seen, and evaluated on the
    other half.

    Parameters
    ----------
    bars : Bars
        Checked; of the interval that the price model was trained on, and reaching beyond what it was fitted on.
    headlines : sequence of Headline
        By time of receipt.
    price_run, sentiment_run : Path
        Run folders.
    out : Path
        The run folder; an earlier run there is replaced.

    Raises
    ------
    BadMember
        A run folder is missing, incomplete, or of another model.
    BadData
        Too few bars or headlines.
    BadRunFolder
        ``out`` holds something that is not a run.
    """
    out = out.resolve()
    check_replaceable(out, ENSEMBLE)
    runs = {PRICE.name: price_run, SENTIMENT.name: sentiment_run}
    price, sentiment = (_read_member(run, model) for model, run in runs.items())
    network = load_network(price_run, price, torch.device("cpu"))
    assert isinstance(network, ReturnNetwork)
    text_model = TextNetwork(sentiment_run, torch.device("cpu"))
    dataset = news_dataset(bars, headlines, price, news, lambda texts: _scores(text_model, texts))
    pool = fit_pool(dataset.fit, predict_windows(network, dataset.fit.rows), bars.interval_ns)
    forecasts = predict_windows(network, dataset.test.rows)
    window = price["feature_schema"]["window"]
    evaluation = evaluate_pool(dataset.test, forecasts, pool, window, seed)
    description = _describe(bars, headlines, price, sentiment, dataset, pool, news, evaluation, seed)
    working = working_folder(out)
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    for name, run in runs.items():
        for path in members(run):
            (working / name / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run / path, working / name / path)
    golden, inputs = _golden(dataset.test, forecasts, pool)
    write_run(working, description, evaluation, None, golden, inputs, ENSEMBLE.golden.tolerance)
    replace_run(working, out)
    return TrainingResult(out, description, evaluation)


def _read_member(run: Path, model: str) -> dict[str, Any]:
    """Return the description of a member's run."""
    try:
        members(run)
        description = read_description(run)
    except BadArchive as error:
        raise BadMember(f"{run}: expected a {model} model's run folder: {error}") from None
    if description.get("model") != model:
        raise BadMember(f"{run}: expected a run of {model!r}, got one of {description.get('model')!r}")
    for section, fields in _MEMBER_SECTIONS[model].items():
        values = description.get(section)
        if not isinstance(values, dict) or not values.keys() >= set(fields):
            expected = f"{section} with {', '.join(fields)}" if fields else section
            raise BadMember(f"{run}: expected {expected} in its model.json, got {values!r:.60}")
    return description


def _scores(model: TextNetwork, texts: Sequence[str]) -> NDArray[np.float64]:
    """Return the scores of texts, NaN for those that the model refuses."""
    scores = np.full(len(texts), np.nan)
    for start in range(0, len(texts), _BATCH_TEXTS):
        batch = texts[start : start + _BATCH_TEXTS]
        try:
            scores[start : start + len(batch)] = model.compute(model.read(batch))[:, 0]
        except BadText:
            for place, text in enumerate(batch, start):
                try:
                    scores[place] = model.compute(model.read([text]))[0, 0]
                except BadText:
                    continue
    return scores


def _describe(
    bars: Bars,
    headlines: Sequence[Headline],
    price: dict[str, Any],
    sentiment: dict[str, Any],
    dataset: NewsDataset,
    pool: NewsPoolConfig,
    news: NewsWindowConfig,
    evaluation: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    network = {"module": ENSEMBLE.networks[0].module, "config": asdict(pool)}
    build_network({"network": network})  # refuses what no worker could load
    received = "".join(f"{headline.ts_init} {headline.text}\n" for headline in headlines)
    return describe_run(
        ENSEMBLE.name,
        seed,
        network=network,
        members=list(_MEMBER_SECTIONS),
        **{name: price[name] for name in ("feature_schema", "bars", "label")},
        news=asdict(news),
        training={
            **price["training"],
            "headlines": len(headlines),
            "headlines_sha256": hashlib.sha256(received.encode()).hexdigest(),
            "headlines_refused": dataset.refused,
            "weights_source": bars.source,
            "weights_sha256": bars.sha256,
            "weights_read": asdict(bars.read),
            "weights_notes": list(bars.notes),
            "weights_windows": int((dataset.fit.counts > 0).sum()),
            "last_ts_event": max(dataset.last_ts_event, price["training"]["last_ts_event"]),
            "sentiment": sentiment["training"],
        },
        fits=[*price.get("fits", [price["training"]]), _pool_record(bars, price, dataset)],
        metrics={**price["metrics"], "price_edge": price["metrics"]["edge"], **evaluation},
    )


def _pool_record(bars: Bars, price: dict[str, Any], dataset: NewsDataset) -> dict[str, Any]:
    """Return the record of the bars that the weights were fitted on, from the first bar of the first window."""
    first = int(np.searchsorted(bars.ts_event, dataset.fit.ts_event[0])) - price["feature_schema"]["window"] + 1
    return fit_record(bars, int(bars.ts_event[first]), dataset.last_ts_event)


def _golden(
    part: NewsPart, forecasts: NDArray[np.float32], pool: NewsPoolConfig
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[Any]]]:
    """Return golden outputs and inputs: a few windows, with and without news."""
    windows = golden_places(len(part), ENSEMBLE.golden)
    first = np.cumsum(part.counts) - part.counts
    texts = np.concatenate([np.arange(first[at], first[at] + part.counts[at]) for at in windows])
    counts, ages_s = part.counts[windows], part.ages_s[texts]
    outputs = combine(
        torch.from_numpy(forecasts[windows]),
        torch.from_numpy(part.scores[texts]),
        torch.from_numpy(ages_s),
        torch.from_numpy(counts),
        pool,
    ).numpy()
    inputs = {
        "rows": part.rows[windows],
        "texts": np.array([part.texts[at] for at in texts], dtype=np.str_),
        "ages_s": ages_s,
        "counts": counts,
    }
    return dict(zip(OUTPUTS, outputs.T, strict=True)), inputs


def evaluate_pool(
    part: NewsPart, price_outputs: NDArray[np.float32], pool: NewsPoolConfig, block_rows: int, seed: int
) -> dict[str, Any]:
    """Score the pool, its members alone, and a coin, on the windows with news.

    Returns
    -------
    dict
        Plain JSON types: ``scores`` (name -> ``log_loss``, ``directional_accuracy``), ``gain`` (log loss less than that
        of the price model alone, with its interval), ``windows``, ``with_news``, ``edge`` (that as a sentence).
    """
    member_odds = odds(part, price_outputs, pool.half_life_s)
    forecasts = {
        "ensemble": pool.weight_price * member_odds.price + pool.weight_sentiment * member_odds.news,
        "price alone": member_odds.price,
        "news alone": pool.weight_sentiment * member_odds.news,
        "a coin": np.zeros(len(member_odds.rose)),
    }
    losses = {name: odds_log_losses(log_odds, member_odds.rose) for name, log_odds in forecasts.items()}
    gained = losses["price alone"] - losses["ensemble"]
    ends = interval(Blocks(len(gained), max(1, min(block_rows, len(gained) // 20)), seed).means(gained))
    scores = {
        name: {"log_loss": float(losses[name].mean()), "directional_accuracy": _right(log_odds, member_odds.rose)}
        for name, log_odds in forecasts.items()
    }
    gain = {"value": float(gained.mean()), "interval": ends, "confidence": CONFIDENCE}
    return {
        "scores": scores,
        "gain": gain,
        "windows": len(part),
        "with_news": len(gained),
        "edge": _edge_sentence(scores, gain, len(gained)),
    }


def _right(log_odds: NDArray[np.float64], rose: NDArray[np.bool_]) -> float | None:
    signed = log_odds != 0
    return float(((log_odds > 0) == rose)[signed].mean()) if signed.any() else None


def _edge_sentence(scores: dict[str, Any], gain: dict[str, Any], windows: int) -> str:
    low, high = gain["interval"]
    right, alone = (scores[name]["directional_accuracy"] for name in ("ensemble", "price alone"))
    numbers = (
        f"log loss {gain['value']:+.{_DECIMALS}f} better than the price model's alone, {CONFIDENCE:.0%} interval "
        f"{low:+.{_DECIMALS}f} to {high:+.{_DECIMALS}f}; signs right {_share(right)} against {_share(alone)}; "
        f"{windows} test windows with news"
    )
    if is_gain(gain["interval"], _DECIMALS):
        return f"The news adds to the price model's forecast ({numbers})."
    if is_loss(gain["interval"], _DECIMALS):
        return f"The news makes the price model's forecast worse ({numbers})."
    return f"No gain from the news shown ({numbers})."


def _share(value: float | None) -> str:
    return "never" if value is None else f"{value:.1%}"


@dataclass(frozen=True, eq=False)
class Odds:
    """Log odds of a rise from both members, for the windows with news and a move after them."""

    price: NDArray[np.float64]
    news: NDArray[np.float64]
    rose: NDArray[np.bool_]
    """Whether the price rose."""


def odds(part: NewsPart, price_outputs: NDArray[np.float32], half_life_s: float) -> Odds:
    """Return the log odds of the windows with news and a move after them.

    Parameters
    ----------
    price_outputs : float32 [m, 4]
        Outputs of the price model.
    """
    chosen = (part.counts > 0) & (part.returns != 0)
    scores, ages_s, counts = map(torch.from_numpy, (part.scores, part.ages_s, part.counts))
    score = sentiment_of(scores, ages_s, counts, half_life_s)
    return Odds(
        log_odds_up(torch.from_numpy(price_outputs)).numpy()[chosen],
        log_odds_of_score(score).numpy()[chosen],
        (part.returns > 0)[chosen],
    )


def fit_pool(part: NewsPart, price_outputs: NDArray[np.float32], interval_ns: int) -> NewsPoolConfig:
    """Fit weights and half-life by maximum likelihood.

    For each half-life of `HALF_LIVES_BARS` a logistic regression of the next move's sign on both log odds, without
    intercept and with weights of at least 0: neither member may count against its own forecast.
    """
    fits = []
    for bars in HALF_LIVES_BARS:
        half_life_s = bars * interval_ns / 1e9
        log_odds = odds(part, price_outputs, half_life_s)
        weights = _weights(log_odds)
        fits.append(
            (log_loss(weights[0] * log_odds.price + weights[1] * log_odds.news, log_odds.rose), *weights, half_life_s)
        )
    _, weight_price, weight_sentiment, half_life_s = min(fits)
    return NewsPoolConfig(weight_price, weight_sentiment, half_life_s)


def log_loss(log_odds: NDArray[np.float64], rose: NDArray[np.bool_]) -> float:
    """Return the mean negative log-likelihood of the moves."""
    return float(odds_log_losses(log_odds, rose).mean())


def _weights(log_odds: Odds) -> tuple[float, float]:
    columns = np.stack([log_odds.price, log_odds.news], axis=1)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        total = columns @ weights
        return log_loss(total, log_odds.rose), columns.T @ (expit(total) - log_odds.rose) / len(total)

    optimum = minimize(loss, np.array([1.0, 0.1]), jac=True, method="L-BFGS-B", bounds=[(0.0, _LARGEST_WEIGHT)] * 2)
    weight_price, weight_sentiment = optimum.x.tolist()
    return weight_price, weight_sentiment
