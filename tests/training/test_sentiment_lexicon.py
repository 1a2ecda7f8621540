import numpy as np
import pytest

from nautilus_torchserve.training.sentiment.data import load_sentiment_data
from nautilus_torchserve.training.sentiment.evaluate import (
    BAD,
    BURDENS,
    DOWN,
    GOOD,
    UP,
    lexicon_predictions,
    lexicon_score,
)


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("Profit rose and the outlook is strong", 1),
        ("Sales slipped and the bank is warning of losses", -1),
        ("The meeting is held in Lisbon on Tuesday", 0),
        ("The results were not good", -1),
        ("The launch did not fail", 1),
        ("It couldn't recover", -1),
        ("It couldn\N{RIGHT SINGLE QUOTATION MARK}t recover", -1),
        ("Costs fell sharply", 1),
        ("Unemployment climbed again", -1),
        ("Net loss narrowed to 3 million", 1),
        ("A loss of 3 million", -1),
        ("PLUNGING", -1),
        ("", 0),
        ("株価 \N{ROCKET}", 0),
    ],
)
def test_words_are_read_with_their_negations_burdens_and_inflections(text: str, sign: int) -> None:
    assert np.sign(lexicon_score(text)) == sign


def test_no_word_is_both_good_and_bad() -> None:
    assert not GOOD & BAD
    assert not UP & DOWN
    assert not (GOOD | BAD) & (UP | DOWN)
    assert not GOOD & BURDENS


def test_lexicon_classifies_the_corpus_far_better_than_chance() -> None:
    data = load_sentiment_data()
    predicted = lexicon_predictions([sentence.text for sentence in data.train])

    labels = np.array([("negative", "neutral", "positive").index(sentence.label) for sentence in data.train])
    assert (predicted == labels).mean() > 0.5
