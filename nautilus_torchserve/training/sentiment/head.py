"""Logistic regression on the pretrained encoder: the initial head of a fit, and its baseline."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from model_defs.sentiment_transformer import SentimentTransformer
from nautilus_torchserve.training.sentiment.batches import TokenizedPart, padded, sorted_batches

BATCH = 64
"""Batch size (sentences) where no gradient is needed."""
_ITERATIONS = 5_000


def mean_states(network: SentimentTransformer, part: TokenizedPart, device: torch.device) -> NDArray[np.float32]:
    """Return the mean of each sentence's last states, float32 [n, width]."""
    network.to(device).eval()
    means = np.empty((len(part), network.head.in_features), np.float32)
    with torch.inference_mode():
        for places in sorted_batches(part, BATCH):
            tokens = padded(part, places, network.padding).to(device)
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


def put_head(network: SentimentTransformer, model: LogisticRegression) -> None:
    """Set the head to the regression: the mean of the tokens' logits is the logits of the mean state."""
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(model.coef_))
        network.head.bias.copy_(torch.from_numpy(model.intercept_))
