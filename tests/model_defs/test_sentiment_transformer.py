"""A sentiment transformer: any of Hugging Face's encoders, the mean over tokens, padding, probabilities."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model_defs.sentiment_transformer import CLASSES, OUTPUTS, SentimentTransformer, build, outputs, probabilities

torch.set_num_threads(1)
VOCABULARY, LONGEST = 40, 24
LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "hidden_size": 16}
BACKBONES: dict[str, dict[str, Any]] = {
    "bert": {"max_position_embeddings": LONGEST, **LAYERS},
    # Positions begin after the padding token's: two more are needed than there are tokens.
    "roberta": {"max_position_embeddings": LONGEST + 2, "pad_token_id": 1, **LAYERS},
    "mpnet": {"max_position_embeddings": LONGEST + 2, "pad_token_id": 1, **LAYERS},
    "distilbert": {"max_position_embeddings": LONGEST, "n_layers": 2, "n_heads": 2, "dim": 16, "hidden_dim": 32},
    "electra": {"max_position_embeddings": LONGEST, "embedding_size": 8, **LAYERS},
}


def config(kind: str, **changed: object) -> dict[str, Any]:
    return {"model_type": kind, "vocab_size": VOCABULARY, **BACKBONES[kind], **changed}


def network(kind: str) -> SentimentTransformer:
    torch.manual_seed(2)
    made = build({"backbone": config(kind), "max_tokens": LONGEST}).eval()
    torch.nn.init.normal_(made.head.weight)
    torch.nn.init.normal_(made.head.bias)
    return made


def tokens(rows: int, length: int) -> torch.Tensor:
    return torch.randint(5, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize("kind", BACKBONES)
@torch.inference_mode()
def test_any_encoder_is_built_from_its_configuration_alone(kind: str) -> None:
    made = network(kind)

    logits = made(tokens(3, LONGEST))

    assert logits.shape == (3, len(CLASSES))
    assert len(logits.unique(dim=0)) == 3
    assert not [name for name, _ in made.named_parameters() if "pooler" in name]


@pytest.mark.parametrize("kind", BACKBONES)
@torch.inference_mode()
def test_padding_changes_no_texts_logits(kind: str) -> None:
    """Nor do the positions move: RoBERTa's count from the padding token's number on."""
    made, texts = network(kind), tokens(4, 10)
    filled = torch.cat([texts, torch.full((4, LONGEST - 10), made.padding)], dim=1)

    np.testing.assert_allclose(made(filled), made(texts), atol=1e-5)
    mixed = torch.cat([filled, tokens(2, LONGEST)])
    np.testing.assert_allclose(made(mixed)[:4], made(texts), atol=1e-5)


@pytest.mark.parametrize("kind", BACKBONES)
@torch.inference_mode()
def test_states_from_vectors_are_those_from_tokens(kind: str) -> None:
    """Hugging Face numbers positions in two ways, one for each."""
    made = network(kind)
    filled = torch.cat([tokens(3, 9), torch.full((3, 4), made.padding)], dim=1)

    states = made.states(made.embeddings(filled), filled)

    plain = made.encoder(input_ids=filled, attention_mask=(filled != made.padding).long()).last_hidden_state
    np.testing.assert_allclose(states[:, :9], plain[:, :9], atol=1e-6)


@pytest.mark.parametrize("kind", BACKBONES)
@torch.inference_mode()
def test_the_steps_of_the_forward_pass_are_the_forward_pass(kind: str) -> None:
    made = network(kind)
    ids = torch.cat([tokens(3, 9), torch.full((3, 4), made.padding)], dim=1)
    embeddings = made.embeddings(ids)

    assert embeddings.dtype == torch.float32
    assert torch.equal(made.from_embeddings(embeddings, ids), made(ids))
    assert torch.equal(made.from_states(made.states(embeddings, ids), ids), made(ids))


@torch.inference_mode()
def test_mean_of_the_tokens_logits_is_the_mean_states_logits() -> None:
    made = network("bert")
    ids = torch.cat([tokens(3, 9), torch.full((3, 4), made.padding)], dim=1)
    states = made.states(made.embeddings(ids), ids)

    np.testing.assert_allclose(made(ids), made.head(states[:, :9].mean(dim=1)), rtol=1e-5, atol=1e-5)


def test_fresh_network_says_that_anything_may_be() -> None:
    fresh = build({"backbone": config("bert"), "max_tokens": LONGEST}).eval()

    with torch.inference_mode():
        np.testing.assert_allclose(probabilities(fresh, tokens(2, 7)), 1 / 3, rtol=1e-6)


@torch.inference_mode()
def test_temperature_spreads_the_probabilities() -> None:
    made, ids = network("bert"), tokens(3, 7)
    made.temperature.fill_(2.5)

    found = probabilities(made, ids)

    np.testing.assert_allclose(found, (made(ids) / 2.5).softmax(dim=1), rtol=1e-6)
    np.testing.assert_allclose(found.sum(dim=1), 1, rtol=1e-6)


@settings(deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=st.floats(1e-6, 1)))
def test_outputs_are_what_they_are_called(drawn: np.ndarray) -> None:
    probability = drawn / drawn.sum(axis=1, keepdims=True)

    found = dict(zip(OUTPUTS, outputs(torch.from_numpy(probability)).numpy().T, strict=True))

    np.testing.assert_array_equal(found["score"], probability[:, 2] - probability[:, 0])
    np.testing.assert_array_equal(np.stack([found[name] for name in CLASSES], axis=1), probability)
    np.testing.assert_array_equal(found["confidence"], probability.max(axis=1))
    assert (np.abs(found["score"]) <= 1).all()


def test_weights_of_half_precision_are_computed_in_full() -> None:
    made = build({"backbone": config("bert", dtype="float16", torch_dtype="float16"), "max_tokens": LONGEST})

    assert {parameter.dtype for parameter in made.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("backbone", "says"),
    [
        ({"vocab_size": VOCABULARY}, r"model_type, got one with \['vocab_size'\]"),
        (config("bert", pad_token_id=None), "pad_token_id"),
    ],
)
def test_what_is_no_encoders_configuration_is_named(backbone: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build({"backbone": backbone, "max_tokens": LONGEST})
