"""What a feature set says that it is given, and the refusal of what there is not."""

import pytest
from nautilus_trader.model.data import BarType
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Output
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.features.arrays import feature_arrays
from nautilus_torchserve.trading.features.instrument_features import FeaturesFailed
from nautilus_torchserve.trading.features.subscription import Subscription, parse_subscription
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


class TooMany(Raising):
    def update(self, data: object) -> list[float]:
        return [1.0, 2.0]


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
        ("TooMany", r"test_feature_set_data:TooMany on SIMUSD.SIM, .*: row 0: expected 1 values \(value\)"),
        ("NotConstructed", r"test_feature_set_data:NotConstructed cannot be constructed with .*: TypeError"),
    ],
)
def test_fault_of_a_streaming_class_names_it_and_the_datum(streaming: str, message: str) -> None:
    with pytest.raises(FeaturesFailed, match=message):
        feature_arrays(spec(streaming, "trades"), load(None, trades=10, seed=1))


def test_data_that_are_not_there_are_refused() -> None:
    trades = load(None, trades=10, seed=1)

    with pytest.raises(
        BadData, match=r"own: expected quotes of SIMUSD.SIM, which its features .*, got trades of SIMUSD"
    ):
        feature_arrays(spec("Raising", "quotes"), trades)
    with pytest.raises(BadData, match=r"own: expected trades of ETHUSDT.BINANCE"):
        feature_arrays(spec("Raising", f"bars:{ETH}-{MINUTES}"), trades)
