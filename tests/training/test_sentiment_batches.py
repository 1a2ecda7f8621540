from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from news_run import write_backbone
from tokenizers import Tokenizer

from nautilus_torchserve.training.sentiment.batches import (
    TokenizedPart,
    pad_batch,
    shuffled_batches,
    sorted_batches,
    tokenize,
)
from nautilus_torchserve.training.sentiment.fit import MovingAverage
from nautilus_torchserve.training.sentiment.label_files import load_labelled
from nautilus_torchserve.training.sentiment.options import sentiment_training


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=80),
    size=st.integers(1, 9),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
)
def test_every_sentence_is_in_one_batch(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    part = TokenizedPart(tuple(np.arange(1, length + 1) for length in lengths), np.zeros(len(lengths), np.int64), 0)

    for batches in (shuffled_batches(part, size, seed, epoch), sorted_batches(part, size)):
        assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
        assert max(map(len, batches)) <= size
    again = shuffled_batches(part, size, seed, epoch)
    assert all(np.array_equal(*pair) for pair in zip(again, shuffled_batches(part, size, seed, epoch), strict=True))


def test_a_batch_is_filled_up_to_its_longest_sentence() -> None:
    part = TokenizedPart((np.array([4, 5, 6]), np.array([7]), np.array([8, 9])), np.zeros(3, np.int64), 0)

    assert pad_batch(part, np.array([1, 2]), 0).tolist() == [[7, 0], [8, 9]]


def test_longer_sentences_are_cut_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("profit rose today@positive\n" + "the company " * 30 + "@neutral\n")

    tokenizer = Tokenizer.from_file(str(write_backbone(tmp_path / "bert") / "tokenizer.json"))
    part = tokenize(tokenizer, load_labelled(path), 16)

    assert [len(tokens) for tokens in part.tokens] == [5, 16]
    assert part.cut == 1


def test_the_average_is_that_of_the_steps() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(0.0)
    average, expected = MovingAverage(network, 0.5), 0.0
    for step in range(1, 8):
        network.weight.data.fill_(float(step))
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step

    with average.averaged():
        assert network.weight.item() == pytest.approx(expected)
    assert network.weight.item() == 7.0
    average.apply()
    assert network.weight.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("fit.epochs=0", "expected epochs of at least 1, got 0"),
        ("fit.learning_rate=0", "expected learning_rate above 0, got 0"),
        ("fit.average_decay=1", r"expected average_decay in \[0, 1\), got 1"),
        ("fit.validation_share=0", r"expected validation_share in \(0, 1\), got 0"),
        ("fit.width=3", "fit: expected one of epochs, .*, got 'width'"),
        ("fit.epochs=many", "fit.epochs: expected int, got 'many'"),
        ("epochs=3", "expected fit.NAME=VALUE, got 'epochs=3'"),
        ("network.hidden=3", "expected fit.NAME=VALUE, got 'network.hidden=3'"),
    ],
)
def test_an_invalid_setting_is_refused(setting: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        sentiment_training([setting])


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match="expected device auto, cpu or cuda, got 'tpu'"):
        sentiment_training(device="tpu")
