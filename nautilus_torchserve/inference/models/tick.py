"""The tick classifier: probabilities of BUY, SELL and HOLD for each row of features."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_defs.tick_classifier import CLASSES, TickClassifier
from nautilus_torchserve.features.schema import Column
from nautilus_torchserve.inference.explain.integrate import TimeLimit, integrate, select_output
from nautilus_torchserve.inference.model import RowModel
from nautilus_torchserve.wire.output_constraints import PROBABILITY, OutputConstraints

BASELINE = "every feature at its mean in the fit"
FLOOR = 1e-4
"""Completeness error allowed in an explanation, of a probability."""


class TickModel(RowModel):
    """Logits to probabilities."""

    output_names = explained = CLASSES
    constraints = OutputConstraints(dict.fromkeys(CLASSES, PROBABILITY), (CLASSES,))
    explain_s, explain_alone_s = 0.4, 2.0
    max_explained, max_explained_bytes = 16, 1 << 14

    def forward(self, network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        return network(rows).softmax(dim=1)  # (B, 3)

    def explain_row(
        self, network: nn.Module, row: NDArray[np.float32], output: str | None, limit: TimeLimit
    ) -> dict[str, Any]:
        return explain_features(network, row, self.schema.columns, output, limit)


def explain_features(
    network: nn.Module, row: NDArray[np.float32], columns: Sequence[Column], output: str | None, limit: TimeLimit
) -> dict[str, Any]:
    """Attribute the difference of one class' probability from that of a mean row to the features.

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
        Plain JSON types: ``output``, the keys of `inference.explain.integrate.Integral.to_dict`, ``baseline`` (in
        words) and ``features``, rows of ``name``, ``unit``, ``value``, ``baseline``, ``attribution`` in the schema's
        order.

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
    clipped = torch.minimum(torch.maximum(raw, mean - reach), mean + reach)
    with torch.no_grad():
        likeliest = CLASSES[int(network(clipped).argmax())]
    name = select_output(output, likeliest, CLASSES)
    index = CLASSES.index(name)
    integral = integrate(lambda rows: network(rows).softmax(dim=1)[:, index], (clipped,), (mean,), FLOOR, limit)
    values = zip(columns, raw[0].tolist(), mean[0].tolist(), integral.attributions[0].tolist(), strict=True)
    return {
        "output": name,
        **integral.to_dict(),
        "baseline": BASELINE,
        "features": [
            {"name": column.name, "unit": column.unit, "value": value, "baseline": baseline, "attribution": attribution}
            for column, value, baseline, attribution in values
        ],
    }
