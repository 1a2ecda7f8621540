"""A sentiment model's head on the encoder as it is: where a fit begins, and what it has to beat."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from model_defs.sentiment_transformer import SentimentTransformer
from nautilus_torchserve.training.sentiment.batches import TokenizedPart, padded, sorted_batches

BATCH = 64
"""Sentences of a batch where no gradient is needed."""
_ITERATIONS = 5_000


def mean_states(network: SentimentTransformer, part: TokenizedPart, device: torch.device) -> NDArray[np.float32]:
    """The mean of each sentence's last states, float32 [n, width]."""
    network.to(device).eval()
    found = np.empty((len(part), network.head.in_features), np.float32)
    with torch.inference_mode():
        for places in sorted_batches(part, BATCH):
            tokens = padded(part, places, network.padding).to(device)
            present = (tokens != network.padding).unsqueeze(2)  # (B, L, 1)
            states = network.states(network.embeddings(tokens), tokens)  # (B, L, H)
            found[places] = ((states * present).sum(dim=1) / present.sum(dim=1)).cpu().numpy()
    return found


def fit_head(
    states: NDArray[np.float32], labels: NDArray[np.int64], inverse_penalty: float, balanced: bool
) -> LogisticRegression:
    """A multinomial logistic regression on the states, on one thread: sums in the same order everywhere.

    Parameters
    ----------
    inverse_penalty : float
        Scikit-learn's ``C``.
    balanced : bool
        Whether each class counts the same, however frequent it is.
    """
    model = LogisticRegression(C=inverse_penalty, class_weight="balanced" if balanced else None, max_iter=_ITERATIONS)
    with threadpool_limits(1, user_api="blas"):
        return model.fit(states.astype(np.float64), labels)


def put_head(network: SentimentTransformer, model: LogisticRegression) -> None:
    """Let the network answer as the regression does: the mean of the tokens' logits is the mean state's logits."""
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(model.coef_))
        network.head.bias.copy_(torch.from_numpy(model.intercept_))
