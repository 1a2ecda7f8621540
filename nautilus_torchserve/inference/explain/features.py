"""What moved a classifier of feature rows: one attribution a feature."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_defs.tick_classifier import CLASSES, TickClassifier
from nautilus_torchserve.features.schema import Column
from nautilus_torchserve.inference.explain.integrate import TimeLimit, chosen, integrate

BASELINE = "every feature at its mean in the fit"
FLOOR = 1e-4
"""Of a probability."""


def explain_features(
    network: nn.Module, row: NDArray[np.float32], columns: Sequence[Column], output: str | None, limit: TimeLimit
) -> dict[str, Any]:
    """What moved one class' probability away from that of a mean row.

    Parameters
    ----------
    network : TickClassifier
        In float64.
    row : float32 [columns]
        Raw.
    output : str or None
        One of `CLASSES`; None: the row's likeliest.
    limit : TimeLimit
        See `inference.explain.integrate.integrate`.

    Returns
    -------
    dict
        Plain JSON types: ``output``, what `inference.explain.integrate.Integral.to_dict` has,
        ``baseline`` (in words) and
        ``features``, rows of ``name``, ``unit``, ``value``, ``baseline``, ``attribution`` in the schema's order.

    Raises
    ------
    NotExplained
        There is no such output.
    """
    classifier = cast(TickClassifier, network)
    mean = classifier.center.unsqueeze(0)  # (1, F)
    reach = classifier.clip * classifier.scale
    raw = torch.from_numpy(row.astype(np.float64)).unsqueeze(0).to(mean.device)  # (1, F)
    # The network sees no value further off than this. A path that went on to an outlier would be nearly all beyond.
    given = torch.minimum(torch.maximum(raw, mean - reach), mean + reach)
    with torch.no_grad():
        likeliest = CLASSES[int(network(given).argmax())]
    name = chosen(output, likeliest, CLASSES)
    column = CLASSES.index(name)
    integral = integrate(lambda rows: network(rows).softmax(dim=1)[:, column], (given,), (mean,), FLOOR, limit)
    values = zip(columns, raw[0].tolist(), mean[0].tolist(), integral.attributions[0].tolist(), strict=True)
    return {
        "output": name,
        **integral.to_dict(),
        "baseline": BASELINE,
        "features": [
            {"name": each.name, "unit": each.unit, "value": value, "baseline": baseline, "attribution": attribution}
            for each, value, baseline, attribution in values
        ],
    }
