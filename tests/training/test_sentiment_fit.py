from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from news_run import write_backbone
from scipy.special import rel_entr, softmax
from sentiment_sample import QUICK, write_sentences
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss
from tokenizers import Tokenizer

from model_defs.sentiment_transformer import SentimentTransformer
from nautilus_torchserve.training.fit.loop import Checkpoints, History, threads
from nautilus_torchserve.training.sentiment.backbone import Backbone, build_network, find_backbone
from nautilus_torchserve.training.sentiment.batches import TokenizedPart, tokenize
from nautilus_torchserve.training.sentiment.fit import (
    SentimentFitConfig,
    best_temperature,
    class_weights,
    divergence,
    fit_head,
    fit_sentiment,
    log_loss,
    logits,
    mean_states,
    set_head,
)
from nautilus_torchserve.training.sentiment.label_files import load_labelled
from nautilus_torchserve.training.sentiment.options import sentiment_training

CPU = torch.device("cpu")
CONFIG = sentiment_training(QUICK, device="cpu").fit
Fit = Callable[..., tuple[SentimentTransformer, History]]


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return find_backbone(write_backbone(tmp_path_factory.mktemp("backbone") / "bert"))


@pytest.fixture(scope="module")
def part(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> TokenizedPart:
    path = write_sentences(tmp_path_factory.mktemp("sentences") / "own.txt", count=90)
    return tokenize(Tokenizer.from_str(backbone.tokenizer), load_labelled(path), 64)


@pytest.fixture(scope="module")
def other(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> TokenizedPart:
    path = write_sentences(tmp_path_factory.mktemp("sentences") / "own.txt", count=45, seed=2)
    return tokenize(Tokenizer.from_str(backbone.tokenizer), load_labelled(path), 64)


@pytest.fixture
def fit(backbone: Backbone, part: TokenizedPart, other: TokenizedPart, tmp_path: Path) -> Fit:
    """A fit of a moment; its second outcome is the history."""

    def fit(
        config: SentimentFitConfig = CONFIG, folder: str = "one", on_epoch: Callable[[History], None] = lambda _: None
    ) -> tuple[SentimentTransformer, History]:
        network = build_network(backbone, 64, config.dropout)
        head = fit_head(mean_states(network, part, CPU), part.labels, config.head_inverse_penalty, True)
        history = fit_sentiment(
            network, head, part, other, config, CPU, Checkpoints(tmp_path / folder, "same"), on_epoch
        )
        return network, history

    return fit


def weights(network: SentimentTransformer) -> dict[str, torch.Tensor]:
    return network.state_dict()


def equal(one: SentimentTransformer, two: SentimentTransformer) -> bool:
    return all(torch.equal(value, weights(two)[name]) for name, value in weights(one).items())


def test_the_fit_learns_what_the_head_alone_does_not(
    fit: Fit, backbone: Backbone, part: TokenizedPart, other: TokenizedPart
) -> None:
    network, history = fit()

    fresh = build_network(backbone, 64, 0.1)
    head = fit_head(mean_states(fresh, part, CPU), part.labels, 1.0, True)
    alone = (head.predict(mean_states(fresh, other, CPU)) == other.labels).mean()
    fitted = (logits(network, other, CPU).argmax(axis=1) == other.labels).mean()
    assert fitted > max(alone, 0.9)
    assert history.train_loss[-1] < history.train_loss[0]


def test_interrupted_and_resumed_equals_uninterrupted_to_the_bit(fit: Fit) -> None:
    def interrupt(history: History) -> None:
        if history.epochs == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(on_epoch=interrupt)
    (resumed, history), (whole, expected) = fit(), fit(folder="two")

    assert history == expected
    assert equal(resumed, whole)


def test_another_seed_gives_other_weights(fit: Fit) -> None:
    (one, _), (two, _) = fit(), fit(replace(CONFIG, seed=2), folder="two")

    assert not equal(one, two)


def test_average_of_the_best_epoch_is_kept(fit: Fit, other: TokenizedPart) -> None:
    """Steps far too large end worse than they were in between."""
    network, history = fit(replace(CONFIG, epochs=5, patience=5, learning_rate=0.03, head_learning_rate=0.3))

    scores = logits(network, other, CPU)
    kept = log_loss(scores, other.labels, network.temperature.item())
    assert kept == pytest.approx(min(history.validation_loss), rel=1e-5)


def test_a_fit_stops_where_validation_no_longer_improves(fit: Fit) -> None:
    _, history = fit(replace(CONFIG, epochs=30, patience=1, learning_rate=0.1, head_learning_rate=1.0))

    assert history.epochs == history.best_epoch + 1 < 30


@pytest.mark.parametrize("frozen", [True, False])
def test_embeddings_stay_as_they_are_where_they_are_frozen(fit: Fit, backbone: Backbone, frozen: bool) -> None:
    network, _ = fit(replace(CONFIG, epochs=1, freeze_embeddings=frozen))

    before = build_network(backbone, 64, 0.1)
    name = "encoder.embeddings.position_embeddings.weight"
    assert torch.equal(weights(network)[name], weights(before)[name]) == frozen
    layer = "encoder.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(weights(network)[layer], weights(before)[layer])
    assert all(weight.requires_grad for weight in network.parameters())


def test_layer_decay_gives_lower_layers_smaller_steps(fit: Fit, backbone: Backbone) -> None:
    network, _ = fit(replace(CONFIG, epochs=1, layer_decay=1e-6, weight_decay=0.0))

    before = build_network(backbone, 64, 0.1)
    moved = [
        float((weights(network)[name] - weights(before)[name]).abs().max())
        for name in (f"encoder.encoder.layer.{at}.output.dense.weight" for at in (0, 1))
    ]
    assert moved[0] < 1e-6 < 1e-3 < moved[1]


def test_divergence_of_two_passes_adds_to_the_loss(fit: Fit) -> None:
    (plain, _), (drawn, _) = (fit(replace(CONFIG, rdrop=rdrop, epochs=1), folder=str(rdrop)) for rdrop in (0.0, 5.0))

    assert not equal(plain, drawn)


def test_the_divergence_is_the_mean_of_both_ways() -> None:
    one, other = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    p, q = softmax(one.numpy(), axis=1), softmax(other.numpy(), axis=1)

    expected = (rel_entr(p, q).sum(axis=1) + rel_entr(q, p).sum(axis=1)).mean() / 2
    assert divergence(one, other).item() == pytest.approx(expected)
    assert divergence(one, one).item() == 0.0


@pytest.mark.parametrize("kind", ["albert", "distilbert"])
def test_an_encoder_that_shares_its_layers_or_names_them_otherwise_fits_too(
    kind: str, part: TokenizedPart, backbone: Backbone, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoModel

    shape = {"vocab_size": backbone.config["vocab_size"], "hidden_size": 32, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 4, "intermediate_size": 64}
    shape |= {"hidden_dim": 64, "dim": 32, "n_layers": 2, "n_heads": 4}  # as DistilBERT calls them
    config = AutoConfig.for_model(kind, **{**shape, "embedding_size": 16, "pad_token_id": 0})
    AutoModel.from_config(config).save_pretrained(tmp_path / kind)
    (tmp_path / kind / "tokenizer.json").write_text(backbone.tokenizer)
    network = build_network(find_backbone(tmp_path / kind), 64, 0.1)
    head = fit_head(mean_states(network, part, CPU), part.labels, 1.0, True)
    before = {name: value.clone() for name, value in network.state_dict().items()}

    history = fit_sentiment(
        network, head, part, part, replace(CONFIG, epochs=1), CPU, Checkpoints(tmp_path / "checkpoints", "same")
    )

    changed = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
    assert history.epochs == 1
    assert any("layer" in name for name in changed)


def test_head_predicts_as_the_regression(backbone: Backbone, part: TokenizedPart) -> None:
    network = build_network(backbone, 64, 0.1)
    states = mean_states(network, part, CPU)
    head = fit_head(states, part.labels, 1.0, True)

    set_head(network, head)

    expected = head.predict_proba(states)
    assert np.allclose(softmax(logits(network, part, CPU), axis=1), expected, atol=1e-5)
    assert isinstance(head, LogisticRegression)


def test_class_weights_balance_rare_classes(backbone: Backbone, part: TokenizedPart, tmp_path: Path) -> None:
    """With 2 sentences of one class among 62, on an encoder that cannot tell them apart."""
    rare = np.flatnonzero(part.labels == 2)[:2]
    kept = np.sort(np.concatenate([np.flatnonzero(part.labels != 2), rare]))
    few = TokenizedPart(tuple(part.tokens[0] for _ in kept), part.labels[kept], 0)
    probabilities = {}
    for weighted in (True, False):
        network = build_network(backbone, 64, 0.1)
        head = fit_head(mean_states(network, few, CPU), few.labels, 1.0, weighted)
        config = replace(CONFIG, class_weights=weighted, epochs=4, label_smoothing=0.0)
        fit_sentiment(network, head, few, few, config, CPU, Checkpoints(tmp_path / str(weighted), "same"))
        probabilities[weighted] = softmax(logits(network, few, CPU), axis=1).mean(axis=0)[2]

    assert probabilities[False] < 0.1
    assert probabilities[True] > 0.2


@given(st.lists(st.integers(0, 2), min_size=3, max_size=60).filter(lambda labels: len(set(labels)) == 3))
def test_weighted_classes_count_the_same_together(labels: list[int]) -> None:
    weight = class_weights(np.array(labels)).numpy()

    counts = np.bincount(labels)
    assert np.allclose(weight * counts, len(labels) / 3)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 4.0))
def test_the_temperature_is_the_best_and_undoes_a_scaling(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    true = random.normal(0, 1.5, (2_000, 3))
    labels = (random.random((2_000, 1)) > softmax(true, axis=1).cumsum(axis=1)[:, :2]).sum(axis=1)

    temperature = best_temperature(scale * true, labels)

    assert temperature == pytest.approx(scale, rel=0.25)
    grid = [log_loss(scale * true, labels, at) for at in np.geomspace(0.2, 8, 60)]
    assert log_loss(scale * true, labels, temperature) <= min(grid) + 1e-6
    assert log_loss(scale * true, labels, temperature) <= log_loss(scale * true, labels, 1.0)


def test_log_loss_equals_scikit_learns() -> None:
    random = np.random.default_rng(1)
    scores, labels = random.normal(0, 2, (50, 3)), random.integers(0, 3, 50)

    expected = sklearn_log_loss(labels, softmax(scores / 1.7, axis=1), labels=[0, 1, 2])

    assert log_loss(scores, labels, 1.7) == pytest.approx(expected)
