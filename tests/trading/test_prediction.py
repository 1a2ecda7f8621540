"""Predictions as data: through a catalog, as bytes, on the message bus."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from nautilus_torchserve.trading.prediction import Prediction, Status, prediction_topic, prediction_type


@pytest.fixture
def predictions(predict: Callable[..., Prediction]) -> list[Prediction]:
    values = np.random.default_rng(3).dirichlet((1, 1, 1), size=50).astype(np.float32)
    statuses = list(Status)
    return [
        predict(number, *(value.item() for value in row), status=statuses[number % 3])
        for number, row in enumerate(values)
    ]


def test_a_catalog_returns_the_predictions_written(predictions: list[Prediction], tmp_path: Path) -> None:
    catalog = ParquetDataCatalog(tmp_path)
    catalog.write_data(predictions)

    back = [custom.data for custom in catalog.query(Prediction)]

    assert back == predictions
    assert [(each.ts_event, each.ts_init) for each in back] == [
        (prediction.ts_event, prediction.ts_init) for prediction in predictions
    ]
    assert list(back[0].outputs) == ["buy", "sell", "hold"]


def test_bytes_unpack_to_the_predictions_packed(predictions: list[Prediction]) -> None:
    first = predictions[0]

    back = Prediction.from_bytes(first.to_bytes())

    assert back == first
    assert (back.ts_event, back.ts_init) == (first.ts_event, first.ts_init)


def test_each_instrument_has_a_topic_of_its_own() -> None:
    btc, eth = InstrumentId.from_str("BTCUSDT.BINANCE"), InstrumentId.from_str("ETHUSDT.BINANCE")

    assert prediction_type(btc) == prediction_type(InstrumentId.from_str("BTCUSDT.BINANCE"))
    assert prediction_topic(btc) != prediction_topic(eth)
