"""What a feature set says that it is given, and the refusal of what there is not."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from nautilus_trader.model.data import BarType
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Output
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.features.arrays import feature_arrays
from nautilus_torchserve.trading.features.instrument_features import FeaturesFailed
from nautilus_torchserve.trading.features.subscription import Subscription, parse_subscription, predicted
from nautilus_torchserve.trading.prediction import Prediction
from nautilus_torchserve.user_error import InvalidArgument

BTC, ETH = InstrumentId.from_str("BTCUSDT.BINANCE"), InstrumentId.from_str("ETHUSDT.BINANCE")
MINUTES = "1-MINUTE-LAST-INTERNAL"


@pytest.mark.parametrize(
    ("text", "subscription"),
    [
        ("trades", Subscription("trades", BTC)),
        ("quotes:ETHUSDT.BINANCE", Subscription("quotes", ETH)),
        ("depth", Subscription("depth", BTC)),
        (f"bars:{MINUTES}", Subscription("bars", BTC, BarType.from_str(f"{BTC}-{MINUTES}"))),
        (f"bars:{ETH}-{MINUTES}", Subscription("bars", ETH, BarType.from_str(f"{ETH}-{MINUTES}"))),
        (
            "custom:nautilus_torchserve.trading.prediction:Prediction",
            Subscription("custom", data_class=Prediction),
        ),
    ],
)
def test_data_are_those_that_the_text_names(text: str, subscription: Subscription) -> None:
    assert parse_subscription(text, BTC) == subscription


@pytest.mark.parametrize(
    "text", ["ticks", "bars", "bars:1-MINUTE", "trades:BTCUSDT", "custom:json:dumps", "custom:json"]
)
def test_text_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises((BadSetting, InvalidArgument), match="expected"):
        parse_subscription(text, BTC)


class Raising:
    def __init__(self, instrument_ids: list[InstrumentId]) -> None:
        self.count = 0

    def update(self, data: object) -> list[float]:
        self.count += 1
        return [1.0 / (3 - self.count)]


class Returns:
    """Returns what a test says."""

    row: object = None

    def __init__(self, instrument_ids: list[InstrumentId]) -> None:
        pass

    def update(self, data: object) -> object:
        return self.row


class NotConstructed:
    pass


def spec(streaming: str, *data: str) -> ModelSpec:
    features = FeatureSet(data=data, schema="test_leak:SCHEMA", streaming=f"{__name__}:{streaming}")
    return ModelSpec(name="own", features=features, outputs=(Output("up"),))


@pytest.mark.parametrize(
    ("streaming", "message"),
    [
        (
            "Raising",
            r"test_feature_set_data:Raising failed at .*: ZeroDivisionError: .* \(.*test_feature_set_data.py:\d+\)",
        ),
        ("NotConstructed", r"test_feature_set_data:NotConstructed cannot be constructed with .*: TypeError"),
    ],
)
def test_fault_of_a_streaming_class_names_it_and_the_datum(streaming: str, message: str) -> None:
    with pytest.raises(FeaturesFailed, match=message):
        feature_arrays(spec(streaming, "trades"), load(None, trades=10, seed=1))


class Unconvertible:
    def __array__(self, dtype: object = None, copy: bool | None = None) -> None:
        raise RuntimeError("no array")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1.0, 2.0], r"expected 1 values \(value\), got an array of shape \[2\]"),
        (np.ones((1, 1)), r"got an array of shape \[1, 1\]"),
        (1.0, r"got an array of shape \[\]"),
        (False, r"got an array of shape \[\]"),
        ([], r"got an array of shape \[0\]"),
        ([float("nan")], "expected finite values, got nan in value"),
        ([float("inf")], "expected finite values, got inf in value"),
        ([None], "expected "),
        (["1.0"], r"expected 1 numbers \(value\), got \['1.0'\]"),
        ([1j], "expected 1 numbers"),
        (np.array(["2024-01-01"], dtype="datetime64[ns]"), "expected 1 numbers"),
        ({"value": 1.0}, "expected 1 numbers"),
        (iter([1.0]), "expected 1 numbers"),
        (Unconvertible(), "expected 1 numbers"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_row_that_the_schema_does_not_describe_is_refused(
    row: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Returns, "row", row)

    with pytest.raises(FeaturesFailed, match=f"test_feature_set_data:Returns on SIMUSD.SIM, .*: row 0: .*{message}"):
        feature_arrays(spec("Returns", "trades"), load(None, trades=10, seed=1))


@pytest.mark.parametrize("row", [(2,), [np.float64(2)], np.array([2], dtype=np.int8), [Decimal(2)], pd.Series([2.0])])
def test_row_may_be_any_sequence_of_numbers(row: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Returns, "row", row)

    assert feature_arrays(spec("Returns", "trades"), load(None, trades=10, seed=1)).inputs.tolist() == [[2.0]] * 10


def test_bars_that_nautilus_trader_does_not_aggregate_are_refused() -> None:
    for kind in ("5-TICK_IMBALANCE", "5-VOLUME_RUNS", "10-RENKO"):
        with pytest.raises(BadSetting, match=f"expected bars .*, got SIMUSD.SIM-{kind}-LAST-INTERNAL"):
            feature_arrays(spec("Returns", f"bars:{kind}-LAST-INTERNAL"), load(None, trades=10, seed=1))


@pytest.mark.parametrize(
    ("data", "instrument_ids", "expected"),
    [
        (("trades",), [BTC, ETH], [BTC, ETH]),
        (("trades", f"trades:{ETH}"), [BTC, ETH], [BTC]),
        (("trades", f"bars:{ETH}-{MINUTES}"), [ETH, BTC], [BTC]),
        ((f"quotes:{BTC}", f"trades:{ETH}"), [ETH, BTC], [ETH]),
    ],
)
def test_instruments_that_the_data_name_as_others_are_not_predicted(
    data: tuple[str, ...], instrument_ids: list[InstrumentId], expected: list[InstrumentId]
) -> None:
    assert predicted(spec("Returns", *data).features, instrument_ids) == expected


def test_data_that_are_not_there_are_refused() -> None:
    trades = load(None, trades=10, seed=1)

    with pytest.raises(
        BadData, match=r"own: expected quotes of SIMUSD.SIM, which its features .*, got trades of SIMUSD"
    ):
        feature_arrays(spec("Raising", "quotes"), trades)
    with pytest.raises(BadData, match=r"own: expected trades of ETHUSDT.BINANCE"):
        feature_arrays(spec("Raising", f"bars:{ETH}-{MINUTES}"), trades)
