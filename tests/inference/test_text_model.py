"""Texts to answers: the same bits in any company, chunks of long texts, words and scripts that the model lacks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from news_run import CPU, WORDS, write_backbone, write_sentiment_run
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from model_defs.sentiment_transformer import build, probabilities
from nautilus_torchserve.inference.model_files import BadArchive
from nautilus_torchserve.inference.text_model import COLUMNS, MAX_CHUNKS, TOKENIZER, TextNetwork, concat
from nautilus_torchserve.wire.errors import BadText

LONGEST, SHARED = 64, 16
"""Tokens of a chunk of `news_run`'s model, and those that two neighbours share."""
INNER = LONGEST - 2
"""Without the marks at both ends."""
WHOLE = [word for word in WORDS.split() if not word.startswith("##")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough for the kernels of large matrices."""
    folder = tmp_path_factory.mktemp("sentiment")
    return write_sentiment_run(folder / "run", write_backbone(folder / "bert", hidden_size=96, intermediate_size=384))


@pytest.fixture(scope="module")
def model(run: Path) -> TextNetwork:
    torch.set_num_threads(1)  # as a handler does
    return TextNetwork(run, CPU)


def text_of(words: int, seed: int = 0) -> str:
    """Return a text of as many tokens as words."""
    return " ".join(np.random.default_rng(seed).choice(WHOLE, words))


TEXTS = [text_of(words, seed) for seed, words in enumerate((*range(1, 20), 30, 45, 53, 60, 61, 62, 63, 90, 130, 300))]


@pytest.fixture(scope="module")
def alone(model: TextNetwork) -> np.ndarray:
    """Each text's answer by itself, float32 [texts, columns]."""
    return np.concatenate([model.compute(model.read([text])) for text in TEXTS])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=12), min_size=1, max_size=4))
def test_the_bits_of_a_text_do_not_depend_on_its_batch(
    model: TextNetwork, alone: np.ndarray, batches: list[list[int]]
) -> None:
    requests = [[TEXTS[at] for at in batch] for batch in batches]

    table = model.compute(concat([model.read(texts) for texts in requests]))

    assert table.tobytes() == alone[[at for batch in batches for at in batch]].tobytes()


class TouchyModel(TextNetwork):
    """Whose kernels give other last bits for each number of rows and each length, as some libraries' do."""

    def _forward(self, rows: torch.Tensor) -> torch.Tensor:
        return super()._forward(rows) * (1 + 1e-6 * len(rows) + 1e-6 * rows.shape[1])


def test_kernels_that_choose_by_shape_change_no_bits(run: Path) -> None:
    model = TouchyModel(run, CPU)
    alone = np.concatenate([model.compute(model.read([text])) for text in TEXTS])

    for chosen in (slice(None), slice(None, None, -1), slice(3, 12), slice(18, None)):
        assert model.compute(model.read(TEXTS[chosen])).tobytes() == alone[chosen].tobytes()
    assert model.tile_sizes == (1,)


def test_answers_differ_by_text_and_agree_with_the_plain_network(model: TextNetwork, alone: np.ndarray) -> None:
    short = [row for row, text in enumerate(TEXTS) if len(text.split()) <= INNER]
    with torch.inference_mode():
        plain = [
            probabilities(model.network, torch.tensor([model.tokenizer.encode(TEXTS[row]).ids]))[0].numpy()
            for row in short
        ]

    np.testing.assert_allclose(alone[short, 1:4], plain, atol=1e-5)
    np.testing.assert_allclose(alone[:, 0], alone[:, 3] - alone[:, 1], atol=1e-6)
    np.testing.assert_array_equal(alone[:, 4], alone[:, 1:4].max(axis=1))
    assert len(np.unique(alone[:, 0])) == len(TEXTS)


@pytest.mark.parametrize("words", [63, 100, INNER + 46, INNER + 47, 300])
def test_a_long_text_is_the_mean_of_its_chunks_by_length(model: TextNetwork, words: int) -> None:
    text = text_of(words, seed=words)
    ids = [model.tokenizer.token_to_id(word) for word in text.split()]
    starts = [start for start in range(0, words, INNER - SHARED) if start == 0 or start + SHARED < words]
    first, last = (model.tokenizer.token_to_id(mark) for mark in ("[CLS]", "[SEP]"))
    chunks = [torch.tensor([[first, *ids[start : start + INNER], last]]) for start in starts]
    with torch.inference_mode():
        chunk_probabilities = np.concatenate([probabilities(model.network, chunk).double().numpy() for chunk in chunks])

    answer = dict(zip(COLUMNS, model.compute(model.read([text]))[0], strict=True))

    mean = np.average(chunk_probabilities, axis=0, weights=[chunk.shape[1] for chunk in chunks])
    np.testing.assert_allclose([answer[name] for name in COLUMNS[1:4]], mean, atol=1e-5)
    assert answer["score"] == pytest.approx(mean[2] - mean[0], abs=1e-5)
    assert (answer["chunks"], answer["truncated"]) == (len(starts), 0)


def test_text_after_the_last_chunk_is_not_read_and_marked_as_truncated(model: TextNetwork) -> None:
    words = text_of((MAX_CHUNKS - 1) * (INNER - SHARED) + INNER).split()
    most, longer, longest = " ".join(words), " ".join([*words, "loss"]), " ".join([*words, *["loss"] * 1000])

    answers = model.compute(model.read([most, longer, longest]))

    assert answers[:, COLUMNS.index("chunks")].tolist() == [MAX_CHUNKS] * 3
    assert answers[:, COLUMNS.index("truncated")].tolist() == [0, 1, 1]
    assert answers[0, :5].tobytes() == answers[1, :5].tobytes() == answers[2, :5].tobytes()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["profit rose", "Прибыль выросла"], "expected text in LATIN script, .* got CYRILLIC in text 1"),
        (["利润上升"], "got CJK in text 0"),
        (["🚀🚀🚀"], "expected words that the model knows, got 1 unknown of 1 in text 0: '🚀🚀🚀'"),
        (["profit rose", "profit 🚀 €"], "got 2 unknown of 3 in text 1"),
        (["\u200b"], "got 0 unknown of 0"),
        (["a" * 10_000], "got 1 unknown of 1"),
    ],
)
def test_text_that_the_model_cannot_read_is_named(model: TextNetwork, texts: list[str], message: str) -> None:
    with pytest.raises(BadText, match=message):
        model.read(texts)


def test_an_unknown_word_among_known_words_is_accepted(model: TextNetwork) -> None:
    assert len(model.read(["profit 🚀", "Größe, profit rose", "profit Завод rose"]).chunks) == 3


@pytest.mark.parametrize("mark", ["[PAD]", "[CLS]", "[SEP]", "[MASK]"])
def test_marks_that_an_author_writes_are_no_marks(model: TextNetwork, mark: str) -> None:
    """A "[PAD]" in a text would hide itself from the network, and a "[SEP]" end the text."""
    ((chunk,),) = model.read([f"profit rose {mark} and the bank of the company today"]).chunks

    assert model.tokenizer.token_to_id(mark) not in chunk.ids[1:-1]
    assert model.network.padding not in chunk.ids


def byte_tokenizer() -> Tokenizer:
    """Return a tokenizer like GPT-2's and RoBERTa's: no byte is unknown to it."""
    marks = ["<s>", "<pad>", "</s>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: at for at, token in enumerate([*marks, *letters])}, merges=[]))
    tokenizer.add_special_tokens(marks)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def write_model(folder: Path, max_tokens: int, unknown: str | None = None, **backbone: Any) -> Path:
    """A RoBERTa whose vocabulary are bytes."""
    tokenizer = byte_tokenizer()
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = {
        "backbone": {
            "model_type": "roberta",
            "vocab_size": tokenizer.get_vocab_size(),
            "pad_token_id": 1,
            "max_position_embeddings": max_tokens + 2,
            **shape,
            **backbone,
        },
        "max_tokens": max_tokens,
    }
    description = {
        "network": {"module": "model_defs.sentiment_transformer", "config": config},
        "scripts": ["LATIN", "CYRILLIC"],
        "unknown_token": unknown,
    }
    torch.manual_seed(4)
    network = build(config)
    torch.nn.init.normal_(network.head.weight)
    (folder / "model.json").write_text(json.dumps(description))
    save_file(network.state_dict(), folder / "weights.safetensors")
    tokenizer.save(str(folder / TOKENIZER))
    return folder


@pytest.mark.parametrize("max_tokens", [20, 64, 90])
def test_a_tokenizer_that_knows_every_byte_has_no_unknown_words(tmp_path: Path, max_tokens: int) -> None:
    model = TextNetwork(write_model(tmp_path, max_tokens), CPU)
    texts = ["🚀", "a", "Прибыль", "x" * (max_tokens - 2), "y" * (max_tokens - 1), "<pad> profit </s> rose" * 9]

    answers = model.compute(model.read(texts))

    assert answers[:, COLUMNS.index("chunks")].tolist()[:5] == [1, 1, 1, 1, 2]
    assert answers[5, COLUMNS.index("chunks")] > 2
    lone = np.concatenate([model.compute(model.read([text])) for text in texts])
    assert answers.tobytes() == lone.tobytes()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"unknown": "[UNK]"}, r"tokenizer.json: expected model.json's unknown token '\[UNK\]', got none"),
        ({"max_position_embeddings": 64}, "expected a network for 64 tokens, got one for fewer"),
        ({"vocab_size": 100}, "expected at most the 100 tokens that the network knows, got 259"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    folder = write_model(tmp_path, 64, **changed)

    with pytest.raises(BadArchive, match=message):
        TextNetwork(folder, CPU)
