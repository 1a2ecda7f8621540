"""What the models declare holds for whatever their networks can give: no genuine answer is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from model_defs.news_pool import NewsPoolConfig, combine  # noqa: E402
from model_defs.return_network import DEGREES_OF_FREEDOM, distribution  # noqa: E402
from model_defs.sentiment_transformer import outputs  # noqa: E402
from nautilus_torchserve.inference.models.ensemble import EnsembleModel  # noqa: E402
from nautilus_torchserve.inference.models.price import PriceModel  # noqa: E402
from nautilus_torchserve.inference.models.sentiment import SentimentModel  # noqa: E402
from nautilus_torchserve.inference.models.tick import TickModel  # noqa: E402

LOGITS = st.lists(st.floats(-90, 90, width=32), min_size=3, max_size=3)
LOCATION, SCALE = st.floats(-5, 5, width=32), st.floats(2.0**-20, 5, width=32)


@given(LOGITS)
def test_probabilities_of_classes(logits: list[float]) -> None:
    probabilities = torch.tensor([logits], dtype=torch.float32).softmax(dim=1)

    TickModel.constraints.check_table(probabilities.numpy(), TickModel.output_names)
    answered = torch.cat([outputs(probabilities), torch.tensor([[1.0, 0.0]])], dim=1)
    SentimentModel.constraints.check_table(answered.numpy(), SentimentModel.output_names)


@given(LOCATION, SCALE, st.floats(-1, 1, width=32), st.integers(0, 3), st.floats(0, 3), st.floats(0, 3))
def test_forecasts(
    location: float, scale: float, score: float, texts: int, weight_price: float, weight_sentiment: float
) -> None:
    """As `model_defs.return_network.predict` makes them of a network's location and scale, and the pool of those."""
    where, spread = torch.tensor([location]), torch.tensor([scale])
    sigma = spread * math.sqrt(DEGREES_OF_FREEDOM / (DEGREES_OF_FREEDOM - 2))
    confidence = distribution(where.abs() / spread)
    forecast = torch.stack([100 * where.exp(), 1e4 * where.expm1(), 1e4 * sigma, confidence], dim=1)

    PriceModel.constraints.check_table(forecast.numpy(), PriceModel.output_names)
    pool = NewsPoolConfig(weight_price, weight_sentiment, half_life_s=60.0)
    scores, ages = torch.full((texts,), score), torch.arange(texts, dtype=torch.float64)
    pooled = combine(forecast, scores, ages, torch.tensor([texts]), pool).numpy()
    if np.isfinite(pooled).all():  # what is not, the worker refuses
        EnsembleModel.constraints.check_table(pooled, EnsembleModel.output_names)
