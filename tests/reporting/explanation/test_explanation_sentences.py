"""An explanation in words and in the terminal: the strongest first, nothing lost, honest where it does not add up."""

import math
from typing import Any

import pytest
from explanation_sample import explained_trade, features, pooled, sentence, window
from rich.console import Console

from nautilus_torchserve.cli.explain import explanation_lines, trade_line
from nautilus_torchserve.reporting.explanation.sentences import drivers, sentences, spans, strongest


def test_bars_are_put_together_by_column_and_distance() -> None:
    first, second, *others = drivers(window())

    assert (first.name, first.attribution) == ("volume, 5 to 14 bars before", 5.0)
    assert (second.name, second.attribution) == ("low, the last bar", -1.0)
    assert all(driver.attribution == 0 for driver in others)


@pytest.mark.parametrize("steps", [1, 2, 5, 6, 15, 16, 60])
def test_every_bar_is_in_one_span(steps: int) -> None:
    result = spans(steps)

    assert [place for start, stop, _ in result for place in range(start, stop)] == list(range(steps))
    assert len({called for *_, called in result}) == len(result)


def test_pieces_of_a_word_are_one_word() -> None:
    result = {driver.name: driver.attribution for driver in drivers(sentence())}

    assert result["\N{LEFT DOUBLE QUOTATION MARK}Unhurt\N{RIGHT DOUBLE QUOTATION MARK}"] == pytest.approx(-0.4)
    assert "\N{LEFT DOUBLE QUOTATION MARK}profit\N{RIGHT DOUBLE QUOTATION MARK}" in result


@pytest.mark.parametrize("explanation", [features(), window(), sentence(), pooled(), pooled(news=False)])
def test_strongest_drivers_and_the_rest_add_up(explanation: dict[str, Any]) -> None:
    total = math.fsum(driver.attribution for driver in drivers(explanation))

    shown = strongest(explanation, most=2)

    assert len(shown) <= 3
    assert math.fsum(driver.attribution for driver in shown) == pytest.approx(total)
    parts = [abs(driver.attribution) for driver in drivers(explanation)]
    assert parts == sorted(parts, reverse=True)


def test_sentences_name_output_baseline_and_strongest_drivers() -> None:
    lines = sentences(features())

    assert lines[0] == "The probability of BUY is 0.600; it would be 0.350 with every feature at its mean in the fit."
    assert lines[1] == "Main contributions upwards: flow_imbalance (0.8) +0.300."
    assert lines[2].startswith("Main contributions downwards: relative_gap (0.2) \N{MINUS SIGN}0.040; return_bps")
    assert lines[3] == "The attributions add up to the difference of +0.250, to within 1e-05."


def test_incomplete_attributions_are_marked() -> None:
    assert sentences(features(complete=False))[-1].startswith("NOT COMPLETE: the attributions miss")


def test_both_parts_of_an_ensemble_and_its_fallback_are_named() -> None:
    both, alone = " ".join(sentences(pooled())), " ".join(sentences(pooled(news=False)))

    assert "The log odds of a rise are 1.000 (probability 0.731)" in both
    assert "1 headline contributes +0.400, at a weight of 1.50." in both
    assert "No news: the price model's forecast alone." in alone


@pytest.mark.parametrize("explanation", [features(), window(), sentence(), pooled(), pooled(news=False)])
def test_a_terminal_shows_a_bar_for_each(explanation: dict[str, Any]) -> None:
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(*explanation_lines(explanation), sep="\n")

    shown = captured.get()
    assert "\N{FULL BLOCK}" * 20 in shown
    assert all(driver.name[:20] in shown for driver in strongest(explanation))


def test_trade_line_names_the_trade_and_its_prediction() -> None:
    assert trade_line(explained_trade()) == (
        "Trade 2 on BTCUSDT.SIM: BUY 0.1 at 100.5 on 2024-05-01 00:00 UTC, closed at 101.5 on 2024-05-01 00:01 UTC, "
        "P&L +1.5 USDT. tick 1.0 had predicted: buy 0.6, sell 0.1, hold 0.3."
    )
