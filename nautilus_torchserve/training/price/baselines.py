"""Simple forecasts of the next return: the baselines of a price model."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model_defs.return_network import DEGREES_OF_FREEDOM
from nautilus_torchserve.features.bar import CLOSE, VOLUME
from nautilus_torchserve.training.price.dataset import Fold, PriceDataset

LAGS = 10
"""Number of last returns that the linear baseline uses."""
RIDGE = 1.0
"""Penalty of the linear baseline, on standardised inputs."""


def no_change(dataset: PriceDataset, fold: Fold) -> NDArray[np.float64]:
    """Forecast a return of zero: an efficient market."""
    return np.zeros(len(fold.test))


def last_return(dataset: PriceDataset, fold: Fold) -> NDArray[np.float64]:
    """Forecast the last return: momentum in its simplest form."""
    return _last_returns(dataset, fold.test.ends, 1)[:, 0]


def linear(dataset: PriceDataset, fold: Fold) -> NDArray[np.float64]:
    """Forecast by ridge regression on the last returns, the last relative volume and the indicators, if any."""
    model = make_pipeline(StandardScaler(), Ridge(RIDGE))
    model.fit(_inputs(dataset, fold.train.ends), fold.train.returns.astype(np.float64))
    return model.predict(_inputs(dataset, fold.test.ends))


BASELINES = {"no change": no_change, "last return": last_return, "linear": linear}


def constant_log_likelihood(fold: Fold) -> NDArray[np.float64]:
    """Return the log density of each test return under one Student t for all bars, fitted to the training part."""
    train, test = fold.train.returns.astype(np.float64), fold.test.returns.astype(np.float64)
    degrees, location, scale = student_t.fit(train / (spread := train.std()), fdf=DEGREES_OF_FREEDOM)
    return student_t.logpdf(test, degrees, location * spread, scale * spread)


def _inputs(dataset: PriceDataset, ends: NDArray[np.int64]) -> NDArray[np.float64]:
    rows = dataset.columns[ends].astype(np.float64)
    window = dataset.schema.time_steps or 1
    total = np.concatenate([[0.0], np.cumsum(dataset.columns[:, VOLUME], dtype=np.float64)])
    mean = (total[ends + 1] - total[ends + 1 - window]) / window
    volume = np.log(np.maximum(rows[:, VOLUME], 0.0) / np.maximum(mean, np.finfo(float).tiny) + 0.01)
    return np.column_stack([_last_returns(dataset, ends, LAGS), volume, rows[:, VOLUME + 1 :]])


def _last_returns(dataset: PriceDataset, ends: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return the log returns of the bars at and before these ends, the newest first [m, count]."""
    logs = np.log(dataset.columns[:, CLOSE].astype(np.float64))
    return np.stack([logs[ends - lag] - logs[ends - lag - 1] for lag in range(count)], axis=1)
