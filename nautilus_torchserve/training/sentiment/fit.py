"""Fit of a sentiment model: head and encoder, and the temperature of its probabilities."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional

from model_defs.sentiment_transformer import CLASSES, SentimentTransformer
from nautilus_torchserve.scores.classification import logit_log_losses
from nautilus_torchserve.training.fit.loop import (
    Checkpoints,
    FitConfig,
    History,
    check_at_least,
    check_positive,
    fit_loop,
    mixed_precision,
)
from nautilus_torchserve.training.sentiment.batches import TokenizedPart, pad_batch, shuffled_batches, sorted_batches
from nautilus_torchserve.user_error import InvalidArgument

BATCH = 64
"""Batch size (sentences) where no gradient is needed."""
_ITERATIONS = 5_000


class MovingAverage:
    """The trainable weights of a network and their average (Polyak & Juditsky 1992).

    Parameters
    ----------
    network : nn.Module
        What is not to be trained has ``requires_grad`` False by now.
    decay : float
        Share of the average that a step leaves, in [0, 1); less in the first steps, see `update`.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        named = {name.replace(".", "/"): weight for name, weight in network.named_parameters() if weight.requires_grad}
        self._decay = decay
        self._current = list(named.values())
        self._average = [nn.Parameter(weight.detach().clone(), requires_grad=False) for weight in self._current]
        self.state = nn.ModuleDict(
            {
                "current": nn.ParameterDict(named),
                "average": nn.ParameterDict(dict(zip(named, self._average, strict=True))),
            }
        )
        """Current and average weights for a checkpoint; the current ones are the network's own."""

    def update(self, step: int) -> None:
        """Take a step's weights in; the average looks back no further than about a tenth of the steps so far."""
        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for average, current in zip(self._average, self._current, strict=True):
                average.lerp_(current, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Compute with the average inside."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def apply(self) -> None:
        """Leave the average in the network."""
        with torch.no_grad():
            for average, current in zip(self._average, self._current, strict=True):
                current.copy_(average)

    def _swap(self) -> None:
        for average, current in zip(self._average, self._current, strict=True):
            average.data, current.data = current.data, average.data


_LOG_TEMPERATURES = (-2.0, 4.0)
"""Range of the best temperature's logarithm: for a small part read without a mistake it has no lower end."""


@dataclass(frozen=True)
class SentimentFitConfig(FitConfig):
    """Settings of a fit; the learning rate is that of the encoder's last layer."""

    epochs: int = 4
    patience: int = 3
    learning_rate: float = 1e-4
    batch_sentences: int = 16
    """Batch size (sentences)."""
    layer_decay: float = 1.0
    """Learning rate of each layer, as a share of that of the layer above (Howard & Ruder 2018)."""
    head_learning_rate: float = 1e-3
    """Largest learning rate of the head."""
    head_inverse_penalty: float = 1.0
    """Inverse penalty ``C`` of the logistic regression that is the initial head."""
    warm_up_share: float = 0.1
    """Share of all steps in which the learning rate rises to its maximum; it falls to zero in the others."""
    label_smoothing: float = 0.05
    """Share of a label that is spread over all classes (Szegedy et al. 2016)."""
    rdrop: float = 1.0
    """Weight of the divergence of two passes with different dropout (R-Drop, Liang et al. 2021); doubles the time."""
    class_weights: bool = True
    """Whether classes have equal weight, however frequent they are."""
    freeze_embeddings: bool = True
    """Whether the embeddings stay as they are: few of the words occur in the training part."""
    average_decay: float = 0.99
    """Decay of the moving average of the weights, which is the result; 0: the weights of the last step."""
    dropout: float = 0.1
    """Dropout of the last states; within the encoder its own configuration applies."""
    validation_share: float = 0.1
    """Share of the sentences not held out that decides early stopping and the temperature."""
    clip_norm: float = 1.0
    """Largest gradient norm; larger ones are clipped (Pascanu et al. 2013)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "batch_sentences")
        check_positive(self, "layer_decay", "head_learning_rate", "head_inverse_penalty", "clip_norm")
        check_at_least(self, 0, "rdrop")
        if not 0 < self.validation_share < 1:
            raise InvalidArgument(f"expected validation_share in (0, 1), got {self.validation_share}")
        for name in ("warm_up_share", "label_smoothing", "average_decay", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidArgument(f"expected {name} in [0, 1), got {getattr(self, name)}")


def fit_sentiment(
    network: SentimentTransformer,
    head: LogisticRegression,
    train: TokenizedPart,
    validation: TokenizedPart,
    config: SentimentFitConfig,
    device: torch.device,
    checkpoints: Checkpoints,
    on_epoch: Callable[[History], None] = lambda history: None,
) -> History:
    """Fit head and encoder from ``head`` on, and leave the best epoch's average in the network, calibrated.

    Fitted whole from an untrained head, an encoder would lose what it knows to the head's first gradients
    (Kumar et al. 2022). An epoch counts by the validation part's log loss at the temperature that is best for it:
    as probabilities are calibrated in the end, a fit that has become too sure of itself but ranks better is the
    better one (Berta et al. 2025). An epoch depends on seed, number and state alone, so that an interrupted fit
    continues to the same weights (on a CPU, on as many threads: to the same bits). On CUDA the network computes in
    bfloat16 where it can.

    Parameters
    ----------
    network : SentimentTransformer
        With a backbone's weights.
    head : LogisticRegression
        Fitted on the training part's states.
    """
    set_head(network, head)
    network.to(device)
    if config.freeze_embeddings:
        _embeddings(network.encoder).requires_grad_(False)
    average = MovingAverage(network, config.average_decay)
    optimizer = torch.optim.AdamW(_groups(network, config), weight_decay=config.weight_decay)

    def validation_loss() -> float:
        with average.averaged():
            scores = logits(network, validation, device)
        return log_loss(scores, validation.labels, best_temperature(scores, validation.labels))

    history = fit_loop(
        average.state,
        optimizer,
        lambda epoch: _train_epoch(network, optimizer, average, train, config, epoch, device),
        validation_loss,
        config,
        checkpoints,
        on_epoch,
    )
    average.apply()
    network.temperature.fill_(best_temperature(logits(network, validation, device), validation.labels))
    network.requires_grad_(True).cpu().eval()
    return history


def logits(network: SentimentTransformer, part: TokenizedPart, device: torch.device) -> NDArray[np.float64]:
    """Return the logits of each sentence, before temperature and softmax, float64 [n, 3]."""
    network.to(device).eval()
    logits = np.empty((len(part), len(CLASSES)))
    with torch.inference_mode(), mixed_precision(device):
        for places in sorted_batches(part, BATCH):
            logits[places] = network(pad_batch(part, places, network.padding).to(device)).double().cpu().numpy()
    return logits


def log_loss(logits: NDArray[np.float64], labels: NDArray[np.int64], temperature: float) -> float:
    """Return the mean negative log-likelihood of the labels (nats), with logits divided by a temperature."""
    return float(logit_log_losses(logits / temperature, labels).mean())


def best_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the temperature of the least `log_loss` (Guo et al. 2017)."""
    optimum = minimize_scalar(
        lambda logarithm: log_loss(logits, labels, float(np.exp(logarithm))), bounds=_LOG_TEMPERATURES, method="bounded"
    )
    return float(np.exp(optimum.x))


def class_weights(labels: NDArray[np.int64]) -> torch.Tensor:
    """Return weights inverse to the classes' frequencies, with mean 1 over the labels; float32 [3]."""
    return torch.from_numpy(len(labels) / (len(CLASSES) * np.bincount(labels, minlength=len(CLASSES)))).float()


def divergence(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the symmetric Kullback-Leibler divergence of two batches of logits, per sentence."""
    logs = one.log_softmax(dim=1), other.log_softmax(dim=1)
    ways = (functional.kl_div(*pair, reduction="batchmean", log_target=True) for pair in (logs, logs[::-1]))
    return torch.stack(list(ways)).mean()


def _train_epoch(
    network: SentimentTransformer,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage,
    part: TokenizedPart,
    config: SentimentFitConfig,
    epoch: int,
    device: torch.device,
) -> float:
    """Make one pass and return its mean loss."""
    network.train()
    torch.manual_seed(config.seed * 1_000_003 + epoch)  # dropout
    weights = class_weights(part.labels).to(device) if config.class_weights else None
    options: dict[str, Any] = {"weight": weights, "label_smoothing": config.label_smoothing}
    batches = shuffled_batches(part, config.batch_sentences, config.seed, epoch)
    total = 0.0
    for number, places in enumerate(batches):
        step = epoch * len(batches) + number
        share = _rate_share(step, config.epochs * len(batches), config.warm_up_share)
        for group in optimizer.param_groups:
            group["lr"] = group["greatest"] * share
        tokens = pad_batch(part, places, network.padding).to(device)
        labels = torch.from_numpy(part.labels[places]).to(device)
        with mixed_precision(device):
            outputs = [network(tokens).float() for _ in range(2 if config.rdrop else 1)]  # (B, 3) each
        loss = torch.stack([functional.cross_entropy(output, labels, **options) for output in outputs]).mean()
        if config.rdrop:
            loss = loss + config.rdrop * divergence(*outputs)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([weight for weight in network.parameters() if weight.requires_grad], config.clip_norm)
        optimizer.step()
        average.update(step + 1)
        total += loss.item() * len(places)
    return total / len(part)


def _rate_share(step: int, steps: int, warm_up_share: float) -> float:
    """Return the share of the largest learning rate: linear up, then linear down, above zero at both ends."""
    up = (step + 1) / (warm_up_share * steps) if warm_up_share else 1.0
    return min(1.0, up, (steps - step) / ((1 - warm_up_share) * steps))


def _groups(network: SentimentTransformer, config: SentimentFitConfig) -> list[dict[str, Any]]:
    """Return parameter groups of the head, each layer from last to first, and the rest, with their largest rates."""
    layers = _layers(network.encoder)
    parts: list[tuple[float, list[nn.Parameter]]] = [(config.head_learning_rate, list(network.head.parameters()))]
    for depth, layer in enumerate(reversed(layers)):
        parts.append((config.learning_rate * config.layer_decay**depth, list(layer.parameters())))
    taken = {id(weight) for _, weights in parts for weight in weights}
    below = [weight for weight in network.parameters() if id(weight) not in taken]
    parts.append((config.learning_rate * config.layer_decay ** len(layers), below))
    trained = [(rate, [weight for weight in weights if weight.requires_grad]) for rate, weights in parts]
    return [{"params": weights, "lr": rate, "greatest": rate} for rate, weights in trained if weights]


def _layers(encoder: nn.Module) -> list[nn.Module]:
    """Return the encoder's layers from first to last; none where it shares one layer."""
    count = encoder.config.num_hidden_layers  # type: ignore[union-attr]
    lists = (part for part in encoder.modules() if isinstance(part, nn.ModuleList) and len(part) == count)
    return list(next(lists, nn.ModuleList()))


def _embeddings(encoder: nn.Module) -> nn.Module:
    """Return the embeddings below the first layer; the word embeddings where the encoder names no others."""
    below = getattr(encoder, "embeddings", None)
    return below if isinstance(below, nn.Module) else encoder.get_input_embeddings()  # type: ignore[operator]


def mean_states(network: SentimentTransformer, part: TokenizedPart, device: torch.device) -> NDArray[np.float32]:
    """Return the mean of each sentence's last states, float32 [n, width]."""
    network.to(device).eval()
    means = np.empty((len(part), network.head.in_features), np.float32)
    with torch.inference_mode():
        for places in sorted_batches(part, BATCH):
            tokens = pad_batch(part, places, network.padding).to(device)
            present = (tokens != network.padding).unsqueeze(2)  # (B, L, 1)
            states = network.states(network.embeddings(tokens), tokens)  # (B, L, H)
            means[places] = ((states * present).sum(dim=1) / present.sum(dim=1)).cpu().numpy()
    return means


def fit_head(
    states: NDArray[np.float32], labels: NDArray[np.int64], inverse_penalty: float, balanced: bool
) -> LogisticRegression:
    """Fit a multinomial logistic regression on the states, on one thread: sums have the same order everywhere.

    Parameters
    ----------
    inverse_penalty : float
        Scikit-learn's ``C``.
    balanced : bool
        Whether classes have equal weight, however frequent they are.
    """
    model = LogisticRegression(C=inverse_penalty, class_weight="balanced" if balanced else None, max_iter=_ITERATIONS)
    with threadpool_limits(1, user_api="blas"):
        return model.fit(states.astype(np.float64), labels)


def set_head(network: SentimentTransformer, model: LogisticRegression) -> None:
    """Set the head to the regression: the mean of the tokens' logits is the logits of the mean state."""
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(model.coef_))
        network.head.bias.copy_(torch.from_numpy(model.intercept_))
