"""NautilusTrader's Binance adapter as live runs here set it up: USDT futures, keys from the environment."""

from collections.abc import Iterable
from typing import Any

from nautilus_trader.adapters.binance import BinanceAccountType, BinanceDataClientConfig, BinanceExecClientConfig
from nautilus_trader.adapters.binance.common import enums as binance_enums
from nautilus_trader.adapters.binance.common.symbol import BinanceSymbol
from nautilus_trader.config import InstrumentProviderConfig
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.live.settings import BinanceExecution, BinanceMarket
from nautilus_torchserve.trading.live.settings_file import environment_value

CLIENT = "BINANCE"
"""The client's name, and the venue's."""


def data_client(market: BinanceMarket, instrument_ids: Iterable[InstrumentId]) -> BinanceDataClientConfig:
    """Return the config of the data client.

    Raises
    ------
    BadSetting
        The key's variables are not set, or an instrument is not one of Binance's futures.
    """
    return BinanceDataClientConfig(**_access(market), instrument_provider=_provider(instrument_ids))


def execution_client(
    market: BinanceMarket, execution: BinanceExecution, instrument_ids: Iterable[InstrumentId]
) -> BinanceExecClientConfig:
    """Return the config of the execution client; raise as `data_client` does."""
    leverages = {BinanceSymbol(symbol): leverage for symbol, leverage in execution.leverages.items()}
    return BinanceExecClientConfig(
        **_access(market),
        instrument_provider=_provider(instrument_ids),
        futures_leverages=leverages or None,
    )


def _access(market: BinanceMarket) -> dict[str, Any]:
    testnet = market.environment == "testnet"
    prefix = "BINANCE_FUTURES_TESTNET" if testnet else "BINANCE"
    return {
        "account_type": BinanceAccountType.USDT_FUTURES,
        **_environment(testnet),
        "api_key": environment_value(market.api_key_env or f"{prefix}_API_KEY", "market.api_key_env"),
        "api_secret": environment_value(market.api_secret_env or f"{prefix}_API_SECRET", "market.api_secret_env"),
        "base_url_http": market.http_url,
        "base_url_ws": market.ws_url,
    }


def _environment(testnet: bool) -> dict[str, Any]:
    """Return which of the venue's environments to connect to, as this NautilusTrader's configs take it."""
    if "testnet" in BinanceDataClientConfig.__struct_fields__:  # before an enumeration took its place
        return {"testnet": testnet}
    environments = vars(binance_enums)["BinanceEnvironment"]
    return {"environment": environments.TESTNET if testnet else environments.LIVE}


def _provider(instrument_ids: Iterable[InstrumentId]) -> InstrumentProviderConfig:
    wanted = frozenset(instrument_ids)
    for instrument_id in wanted:
        expect(
            instrument_id.venue.value == CLIENT,
            f"instruments of venue {CLIENT} (BTCUSDT-PERP.BINANCE), got {instrument_id}",
        )
    return InstrumentProviderConfig(load_ids=wanted)
