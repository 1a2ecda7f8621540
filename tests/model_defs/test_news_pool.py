"""The pool of a price model's forecast and the news: its quantiles, its corner cases, its bits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from model_defs.news_pool import (
    CONFIDENCE,
    OUTPUTS,
    PRICE,
    RETURN,
    SIGMA,
    NewsPoolConfig,
    build,
    combine,
    log_odds_of_score,
    log_odds_up,
    quantile,
    sentiment_of,
)
from model_defs.return_network import distribution

PRICE_ALONE = NewsPoolConfig(weight_price=1.0, weight_sentiment=0.0, half_life_s=60.0)
POOL = NewsPoolConfig(weight_price=0.8, weight_sentiment=0.5, half_life_s=3600.0)
T4 = stats.t(4)
torch.set_num_threads(1)
thrifty = settings(deadline=None, max_examples=40)


def forecast(log_return: float, sigma: float, sharpness: float, last: float = 100.0) -> list[float]:
    """A price model's answer, as `return_network.predict` computes it from location and standard deviation."""
    confidence = distribution(torch.tensor(sharpness * abs(log_return) * np.sqrt(2) / sigma, dtype=torch.float64))
    return [last * np.exp(log_return), 1e4 * np.expm1(log_return), 1e4 * sigma, confidence.item()]


ANSWERS = st.builds(
    forecast,
    st.floats(-0.05, 0.05) | st.sampled_from([0.0, -0.0, 1e-12, -1e-9]),
    st.floats(1e-5, 0.05),
    st.floats(0, 20) | st.sampled_from([0.0, 1e-9, 1e-4]),
    st.floats(1e-3, 1e6),
)
SCORES = st.floats(-1, 1, width=32) | st.sampled_from([-1.0, 1.0, 0.0])
AGES = st.floats(0, 1e12) | st.sampled_from([0.0, 1e300])


@st.composite
def batches(draw: st.DrawFn, most: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Answers float32 [n, 4], scores float32 [texts], ages float64 [texts], counts int64 [n]."""
    answers = draw(st.lists(ANSWERS, min_size=1, max_size=most))
    counts = draw(st.lists(st.integers(0, 4), min_size=len(answers), max_size=len(answers)))
    scores = draw(hnp.arrays(np.float32, sum(counts), elements=SCORES))
    ages = draw(hnp.arrays(np.float64, sum(counts), elements=AGES))
    table = torch.tensor(answers, dtype=torch.float32)
    return table, torch.from_numpy(scores), torch.from_numpy(ages), torch.tensor(counts)


def one(
    answer: list[float], scores: list[float], config: NewsPoolConfig = POOL, ages: list[float] | None = None
) -> dict[str, float]:
    """The outputs for one window by name."""
    table = combine(
        torch.tensor([answer], dtype=torch.float32),
        torch.tensor(scores),
        torch.tensor(ages or [0.0] * len(scores), dtype=torch.float64),
        torch.tensor([len(scores)]),
        config,
    )
    return dict(zip(OUTPUTS, table[0].tolist(), strict=True))


@thrifty
@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(1e-12, 1 - 1e-12)))
def test_quantile_is_students(probabilities: np.ndarray) -> None:
    found = quantile(torch.from_numpy(probabilities))

    np.testing.assert_allclose(found, T4.ppf(probabilities), rtol=1e-7, atol=1e-7)  # scipy's is the coarser by far


@thrifty
@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e3, 1e3)))
def test_quantile_is_the_inverse_of_the_distribution(quantiles: np.ndarray) -> None:
    given_ = torch.from_numpy(quantiles)
    probability = distribution(-given_.abs())  # the lower tail, where a probability has all its digits

    # the tail's probability itself is a difference of numbers near 1/2: it has an error of 1e-16 or so
    slope = T4.pdf(quantiles)
    np.testing.assert_allclose(quantile(probability), -np.abs(quantiles), rtol=1e-13, atol=(4e-16 / slope).max())


@thrifty
@given(st.floats(-15, -1))
def test_quantile_is_exact_close_to_even(exponent: float) -> None:
    """Where the density is 3/8, and its slope 0."""
    above = 10**exponent / 10
    probability = torch.tensor([0.5 + above, 0.5 - above], dtype=torch.float64)

    expected = (probability - 0.5) * 8 / 3
    np.testing.assert_allclose(quantile(probability), expected, rtol=above**2 * 10 + 1e-12, atol=1e-15)


def test_quantile_is_odd_and_rises() -> None:
    tail, middle = torch.logspace(-300, -1, 2000, dtype=torch.float64), torch.linspace(0.1, 0.5, 2000).double()
    probability = torch.cat([tail, middle])

    found = quantile(probability)

    assert torch.isfinite(found).all()
    assert (found.diff() >= 0).all()
    assert quantile(torch.tensor([0.25, 0.75], dtype=torch.float64)).sum().abs() < 1e-15


@thrifty
@given(batches())
def test_without_news_the_price_models_answer_stands_to_the_bit(batch: tuple[torch.Tensor, ...]) -> None:
    answer, *_ = batch
    nothing = torch.zeros(0), torch.zeros(0, dtype=torch.float64), torch.zeros(len(answer), dtype=torch.int64)

    table = combine(answer, *nothing, POOL)

    assert table.dtype == torch.float32
    assert torch.equal(table[:, :4].view(torch.int32), answer.view(torch.int32))
    assert torch.equal(table[:, 4:6], answer[:, [RETURN, CONFIDENCE]])
    assert table[:, 6:].unique(dim=0).tolist() == [[0.0, 1.0, 0.0, 0.0]]  # score, both weights, texts


@thrifty
@given(batches())
def test_with_all_the_weight_the_price_models_answer_comes_back(batch: tuple[torch.Tensor, ...]) -> None:
    """Whatever its confidence: even, certain, or far from what its return would suggest."""
    answer, *news = batch

    table = combine(answer, *news, PRICE_ALONE)

    np.testing.assert_allclose(table[:, PRICE], answer[:, PRICE], rtol=1e-6)
    np.testing.assert_allclose(table[:, RETURN], answer[:, RETURN], rtol=1e-6, atol=1e-7)
    assert torch.equal(table[:, SIGMA], answer[:, SIGMA])
    np.testing.assert_allclose(table[:, CONFIDENCE], answer[:, CONFIDENCE], atol=2e-6)


@thrifty
@given(batches(), st.floats(0, 5), st.floats(0, 50), st.floats(1e-3, 1e9))
def test_any_news_gives_a_forecast_whose_sign_and_confidence_agree(
    batch: tuple[torch.Tensor, ...], weight_price: float, weight_sentiment: float, half_life_s: float
) -> None:
    answer, scores, ages, counts = batch
    config = NewsPoolConfig(weight_price, weight_sentiment, half_life_s)

    table = combine(answer, scores, ages, counts, config).double()

    assert torch.isfinite(table).all()
    assert (table[:, PRICE] > 0).all()
    assert ((table[:, CONFIDENCE] >= 0.5) & (table[:, CONFIDENCE] <= 1)).all()
    odds = weight_price * log_odds_up(answer) + weight_sentiment * log_odds_of_score(table[:, 6])
    clear = (counts > 0) & (odds.abs() > 1e-3) & (table[:, RETURN].abs() > 1e-6)
    assert torch.equal(table[clear, RETURN].sign(), odds[clear].sign())
    last = answer[:, PRICE].double() / (1 + answer[:, RETURN].double() / 1e4)
    np.testing.assert_allclose(table[:, PRICE], last * (1 + table[:, RETURN] / 1e4), rtol=1e-6)


@thrifty
@given(ANSWERS, SCORES, st.floats(0, 3), st.floats(0, 3))
def test_confidence_is_the_logarithmic_pools(
    answer: list[float], score: float, weight_price: float, weight_sentiment: float
) -> None:
    """Genest & Zidek 1986: the product of the probabilities to the power of their weights, normalised."""
    outputs = one(answer, [score], NewsPoolConfig(weight_price, weight_sentiment, 60.0))

    confidence = float(np.float32(answer[CONFIDENCE]))
    up = np.clip(confidence if answer[RETURN] >= 0 else 1 - confidence, 1e-6, 1 - 1e-6)
    news_up = np.clip((1 + score) / 2, 1e-6, 1 - 1e-6)
    rise, fall = (
        up**weight_price * news_up**weight_sentiment,
        (1 - up) ** weight_price * (1 - news_up) ** weight_sentiment,
    )
    pooled = rise / (rise + fall)
    assert outputs["confidence"] == pytest.approx(min(max(pooled, 1 - pooled), 1 - 1e-6), abs=1e-6)


@thrifty
@given(st.floats(-3, 3), st.floats(1e-4, 0.01), SCORES)
def test_where_a_model_claims_what_it_is_worth_confidence_keeps_its_meaning(
    quantile_: float, sigma: float, score: float
) -> None:
    """The combined forecast is again a Student t around its return."""
    scale = sigma / np.sqrt(2)
    outputs = one(forecast(quantile_ * scale, sigma, sharpness=1.0), [score])

    location = np.log1p(outputs["return_bps"] / 1e4)
    assert outputs["confidence"] == pytest.approx(T4.cdf(abs(location) / scale), abs=2e-5)


def test_news_moves_a_model_of_no_worth_by_the_news_alone() -> None:
    """A fit without an edge leaves a sharpness of next to 0: the claims are not to be made larger by it."""
    score, sigma = 0.5, 1e-3
    answer = forecast(5e-4, sigma, sharpness=5e-6)
    config = NewsPoolConfig(1.0, 1.0, 60.0)

    against, along = one(answer, [-score], config), one(answer, [score], config)

    moved_bps = 1e4 * T4.ppf((1 + score) / 2) * sigma / np.sqrt(2)
    assert against["return_bps"] == pytest.approx(-moved_bps, rel=1e-2)
    assert along["return_bps"] == pytest.approx(5 + moved_bps, rel=1e-2)


@thrifty
@given(ANSWERS, SCORES, SCORES, st.floats(0, 3), st.floats(0.01, 3))
def test_better_news_never_lowers_the_forecast(
    answer: list[float], one_score: float, other_score: float, weight_price: float, weight_sentiment: float
) -> None:
    worse, better = sorted((one_score, other_score))
    config = NewsPoolConfig(weight_price, weight_sentiment, 60.0)

    low, high = one(answer, [worse], config), one(answer, [better], config)

    assert low["price"] <= high["price"] * (1 + 1e-7)
    assert low["return_bps"] <= high["return_bps"] + 1e-6


def test_better_news_raises_the_forecast() -> None:
    returns = [one(forecast(2e-4, 1e-3, 0.7), [score])["return_bps"] for score in (-1, -0.6, -0.1, 0, 0.1, 0.6, 1)]

    assert (np.diff(returns) > 0.5).all()


@thrifty
@given(ANSWERS, SCORES, AGES, st.integers(2, 5))
def test_the_same_text_several_times_counts_once(answer: list[float], score: float, age: float, times: int) -> None:
    once, often = one(answer, [score], ages=[age]), one(answer, [score] * times, ages=[age] * times)

    assert {**often, "texts": 1} == pytest.approx({**once, "texts": 1}, rel=1e-6, abs=1e-6)
    assert often["texts"] == times


@thrifty
@given(batches(), st.floats(0.1, 1e6))
def test_a_text_counts_half_as_much_for_each_half_life(batch: tuple[torch.Tensor, ...], half_life_s: float) -> None:
    _, scores, ages, counts = batch
    ages = ages.remainder(300 * half_life_s)  # beyond, two to the power of it leaves the plain formula nothing
    found = sentiment_of(scores, ages, counts, half_life_s)

    ends = counts.cumsum(0).tolist()
    for window, (end, count) in enumerate(zip(ends, counts.tolist(), strict=True)):
        part = slice(end - count, end)
        weights = 0.5 ** (ages[part].numpy() / half_life_s)
        expected = np.average(scores[part].double().numpy(), weights=weights) if count else 0.0
        assert found[window].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("age", [0.0, 1e4, 1e9, 1e300])
def test_a_lone_text_counts_in_full_however_old(age: float) -> None:
    """By itself an age has nobody to be compared with; who wants old news forgotten does not send it."""
    assert one(forecast(0, 1e-3, 1), [0.25], ages=[age])["sentiment_score"] == 0.25


def test_of_old_texts_the_newer_counts_more() -> None:
    outputs = one(forecast(0, 1e-3, 1), [1.0, -0.5], ages=[1e9, 1e9 + POOL.half_life_s])

    assert outputs["sentiment_score"] == pytest.approx((1.0 - 0.5 * 0.5) / 1.5)


@thrifty
@given(batches(most=20), st.integers(0, 99))
def test_a_windows_bits_are_its_own_in_any_company(batch: tuple[torch.Tensor, ...], seed: int) -> None:
    answer, scores, ages, counts = batch
    ends = counts.cumsum(0).tolist()
    texts = [slice(end - count, end) for end, count in zip(ends, counts.tolist(), strict=True)]
    order = np.random.default_rng(seed).permutation(len(answer))

    whole = combine(answer, scores, ages, counts, POOL)
    shuffled = combine(
        answer[order],
        torch.cat([scores[texts[row]] for row in order]),
        torch.cat([ages[texts[row]] for row in order]),
        counts[order],
        POOL,
    )

    assert torch.equal(shuffled, whole[order])
    for row, (start, part) in enumerate(zip(range(len(answer)), texts, strict=True)):
        alone = combine(answer[start : start + 1], scores[part], ages[part], counts[start : start + 1], POOL)
        assert torch.equal(alone[0], whole[row])


def test_not_even_the_bits_before_rounding_depend_on_the_company() -> None:
    """float32 hides what float64 computes differently, but for one value in a billion."""
    torch.manual_seed(0)
    probability, score, ages = torch.rand(3, 3001, dtype=torch.float64)
    answer = torch.stack([probability + 50, score - 0.5, ages + 1, probability / 2 + 0.5], dim=1)
    lone = torch.ones(1, dtype=torch.int64)
    pairs = torch.full((1500,), 2)

    together = quantile(probability), log_odds_up(answer), log_odds_of_score(score)
    sentiment = sentiment_of(score[:3000], ages[:3000], pairs, 0.7)

    for row in range(0, 3000, 2):
        alone = slice(row, row + 1)
        assert quantile(probability[alone]) == together[0][row]
        assert log_odds_up(answer[alone]) == together[1][row]
        assert log_odds_of_score(score[alone]) == together[2][row]
        assert sentiment_of(score[row : row + 2], ages[row : row + 2], 2 * lone, 0.7) == sentiment[row // 2]


def test_the_answer_says_what_it_was_made_of() -> None:
    answer = forecast(3e-4, 1e-3, 0.9)
    outputs = one(answer, [0.5, -0.25])

    assert outputs["price_return_bps"] == pytest.approx(answer[RETURN])
    assert outputs["price_confidence"] == pytest.approx(answer[CONFIDENCE])
    assert (outputs["weight_price"], outputs["weight_sentiment"]) == pytest.approx((0.8, 0.5))
    assert (outputs["sentiment_score"], outputs["texts"]) == (0.125, 2)


@thrifty
@given(ANSWERS, SCORES)
def test_a_neutral_text_leaves_the_price_models_odds_by_their_weight(answer: list[float], score: float) -> None:
    assume(answer[CONFIDENCE] < 0.99)
    outputs = one(answer, [0.0], replace(POOL, weight_price=1.0))

    assert outputs["return_bps"] == pytest.approx(answer[RETURN], rel=1e-5, abs=1e-6)
    assert one(answer, [score], replace(POOL, weight_price=0.0, weight_sentiment=0.0))["confidence"] == 0.5


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"weight_price": -0.1}, "expected weight_price of at least 0, got -0.1"),
        ({"weight_sentiment": float("nan")}, "weight_sentiment"),
        ({"weight_sentiment": float("inf")}, "weight_sentiment"),
        ({"half_life_s": 0.0}, "expected half_life_s above 0, got 0"),
        ({"half_life_s": float("nan")}, "half_life_s"),
    ],
)
def test_weights_that_mean_nothing_are_refused(config: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build({"weight_price": 1.0, "weight_sentiment": 1.0, "half_life_s": 60.0, **config})
