"""A live run's file: errors name file, key, expectation and value; secrets stay out of it."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import misbehaving_server
import msgspec
import pytest

from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.live.components import actor_config, strategy_configs
from nautilus_torchserve.trading.live.node import build_node
from nautilus_torchserve.trading.live.replay.recording import load_recording
from nautilus_torchserve.trading.live.settings import ComponentSettings, NodeSettings, ReplayMarket
from nautilus_torchserve.trading.live.settings_file import environment_value, load_settings
from support import PROJECT

EXAMPLES = sorted((PROJECT / "deploy/live").glob("*.toml"))
TRADED = {
    "adapter-paper": ["XBTUSDT.BITMEX"],
    "binance-paper": ["BTCUSDT-PERP.BINANCE"],
    "binance-real": ["BTCUSDT-PERP.BINANCE"],
    "binance-testnet-paper": ["BTCUSDT-PERP.BINANCE"],
    "replay": ["SIMUSD.SIM"],
    "replay-bars": ["BTCUSDT.BINANCE", "ETHUSDT.BINANCE"],
}
GOOD = """
[market]
kind = "replay"
simulate = 100
[execution]
kind = "sandbox"
balance = "1000 USD"
[model]
kind = "tick"
[model.actor]
url = "http://127.0.0.1:1"
instrument_id = "SIMUSD.SIM"
[strategy]
trade_size = "0.1"
[risk]
max_daily_loss = "10"
"""
MINUTE_NS = 60 * 10**9
METADATA = ModelMetadata.from_dict(
    {
        **misbehaving_server.METADATA,
        "bars": {"interval_ns": MINUTE_NS, "max_gap_ns": 2 * MINUTE_NS, "indicators": True},
        "label": {"horizon_bars": 2},
    }
)


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Write a file: `GOOD` with one line replaced by others."""

    def write(line: str = "", by: str = "") -> Path:
        assert line in GOOD
        path = tmp_path / "live.toml"
        path.write_text(GOOD.replace(line, by, 1) if line else GOOD + by)
        return path

    return write


WRONG = {
    "unknown field": (
        'kind = "sandbox"',
        'kind = "sandbox"\nbalanse = "1 USD"',
        "execution.balanse: expected a known field",
    ),
    "wrong type": ("simulate = 100", "simulate = 'many'", "market.simulate: expected int, got 'many'"),
    "missing section": ('[strategy]\ntrade_size = "0.1"', "", "strategy: expected a value, got none"),
    "unknown kind": ('kind = "replay"', 'kind = "rewind"', "market.kind: expected a known kind, got 'rewind'"),
    "no sense": ("simulate = 100", "simulate = 100\nspeed = 0.5", "market: expected speed of at least 1"),
    "two sources": (
        "simulate = 100",
        'simulate = 100\ntrades = "x"',
        "expected one of trades, quotes, bars and simulate",
    ),
    "no amount": ('balance = "1000 USD"', 'balance = "EUR"', "balance of an amount above 0 like"),
    "no currency": ('balance = "1000 USD"', 'balance = "1000"', "balance of an amount above 0 like"),
    "no model": ('kind = "tick"', "", "expected one of model.kind and model.spec, got none"),
    "two models": ('kind = "tick"', 'kind = "tick"\nspec = "own:SPEC"', "model.spec, got kind and spec"),
    "no strategy": (
        'kind = "tick"',
        'spec = "nautilus_torchserve.models.table:SENTIMENT"',
        "expected model.strategy with nautilus_torchserve.models.table:SENTIMENT",
    ),
    "no data": (
        'kind = "tick"',
        'spec = "own_model:QUOTES"\nstrategy = "strategies.tick_strategy:TickStrategy"',
        "expected market of quotes for own_model:QUOTES, got a replay of trades",
    ),
    "no duration": (
        'url = "http://127.0.0.1:1"',
        'warm_up_ns = "long"',
        "model.actor.warm_up_ns: expected a duration such as",
    ),
    "no TOML": ("[risk]", "[risk", "expected TOML"),
    "api key": (
        'kind = "sandbox"',
        'kind = "sandbox"\napi_key = "abc123"',
        "execution.api_key: expected no secret in a file",
    ),
    "deep secret": (
        'kind = "sandbox"',
        'kind = "adapter"\nconfig = { api_secret = "abc123" }',
        "api_secret: expected no",
    ),
    "token": (
        'url = "http://127.0.0.1:1"',
        'url = "http://127.0.0.1:1"\ntoken = "abc123"',
        "token: expected no secret",
    ),
    "password": ('url = "http://127.0.0.1:1"', 'traffic = "postgresql://u:abc123@h/db"', "a URL without a password"),
}


@pytest.mark.parametrize(("line", "by", "message"), WRONG.values(), ids=WRONG)
def test_errors_name_file_and_key(written: Any, line: str, by: str, message: str) -> None:
    path = written(line, by)

    with pytest.raises(BadSetting) as refused:
        load_settings(path)

    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)
    assert "abc123" not in str(refused.value)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"nowhere.toml: expected a readable file, got .*No such file"):
        load_settings(tmp_path / "nowhere.toml")


def test_durations_may_have_units(written: Any) -> None:
    path = written('url = "http://127.0.0.1:1"', 'url = "http://127.0.0.1:1"\nlive = { deadline_ns = "250ms" }')

    actor = actor_config(load_settings(path), METADATA)

    assert actor.live.deadline_ns == 250_000_000


COMPONENT_WRONG = {
    "actor": (
        'instrument_id = "SIMUSD.SIM"',
        'instrument_id = "SIMUSD.SIM"\nwindwo = 3',
        "model.actor.windwo: expected a",
    ),
    "strategy": (
        'trade_size = "0.1"',
        'trade_size = "0.1"\nsize = 3',
        "strategy.size: expected a field of TickStrategyConfig",
    ),
    "value": ('trade_size = "0.1"', 'trade_size = "-1"', "strategy: expected trade_size above 0, got -1"),
    "derived": ('trade_size = "0.1"', 'trade_size = "0.1"\nclose_on_stop = true', "follows from node.flatten"),
}


@pytest.mark.parametrize(("line", "by", "message"), COMPONENT_WRONG.values(), ids=COMPONENT_WRONG)
def test_fields_of_components_are_checked_by_key(written: Any, line: str, by: str, message: str) -> None:
    settings = load_settings(written(line, by))

    with pytest.raises(BadSetting, match=message):
        strategy_configs(settings, actor_config(settings, METADATA), METADATA)


def test_fields_in_the_models_metadata_may_be_left_out() -> None:
    settings = load_settings(PROJECT / "deploy/live/replay-bars.toml")

    actor = actor_config(settings, METADATA)
    strategies = strategy_configs(settings, actor, METADATA)

    assert (actor.indicators, actor.max_gap_ns) == (True, 120 * 10**9)
    assert {config.horizon_ns for config in strategies} == {120 * 10**9}
    assert [config.instrument_id for config in strategies] == actor.subjects()


def test_without_the_model_these_fields_are_required() -> None:
    settings = load_settings(PROJECT / "deploy/live/replay-bars.toml")

    with pytest.raises(BadSetting, match="max_gap_ns"):
        actor_config(settings, None)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_complete(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BINANCE", "BINANCE_FUTURES_TESTNET"):
        monkeypatch.setenv(f"{name}_API_KEY", "key")
        monkeypatch.setenv(f"{name}_API_SECRET", "secret")
    for name in ("BITMEX_TESTNET_KEY", "BITMEX_TESTNET_SECRET"):
        monkeypatch.setenv(name, "secret")
    settings = load_settings(path)
    if path.stem == "replay-bars":  # the reader's own files
        bars = tmp_path / "bars.csv"
        rows = [f"{1_700_000_040 + 60 * n},9,9,9,9,1" for n in range(600)]
        bars.write_text("\n".join(["time,open,high,low,close,volume", *rows]))
        market = msgspec.structs.replace(settings.market, bars=[f"{bars}"] * 2)
        settings = msgspec.structs.replace(settings, market=market)

    quiet = NodeSettings(log_level="ERROR")  # the first node of a process sets the level for all
    settings = msgspec.structs.replace(settings, node=quiet)
    loop = asyncio.new_event_loop()
    node, instrument_ids = build_node(settings, METADATA, loop)
    node.dispose()

    assert [str(instrument_id) for instrument_id in instrument_ids] == TRADED[path.stem]
    assert settings.is_real == (path.stem == "binance-real")


REAL_NEEDS = ("max_daily_loss", "state_file", "max_position", "max_notional_per_order")


@pytest.mark.parametrize("limit", REAL_NEEDS)
def test_real_orders_need_every_limit(tmp_path: Path, limit: str) -> None:
    lines = (PROJECT / "deploy/live/binance-real.toml").read_text().splitlines()
    path = tmp_path / "real.toml"
    left = [line for line in lines if limit not in line and not (limit.startswith("max_notional") and "= 500" in line)]
    path.write_text("\n".join(left))

    with pytest.raises(BadSetting, match=f"{limit} for real execution, got none"):
        load_settings(path)


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIVE_TEST_KEY", raising=False)

    with pytest.raises(BadSetting, match=r"market.api_key_env: expected environment variable LIVE_TEST_KEY"):
        environment_value("LIVE_TEST_KEY", "market.api_key_env")


def test_good_file_is_read(written: Any) -> None:
    settings = load_settings(written())

    assert settings.risk.max_daily_loss == Decimal(10)
    assert not settings.is_real


def test_a_replay_defines_its_instruments_as_backtests_do(written: Any) -> None:
    more = 'simulate = 100\ntick_size = "0.05"\nmultiplier = "10"\nmargin = "0.1"\nfee_bps = 2.0'

    settings = load_settings(written("simulate = 100", more))

    assert isinstance(settings.market, ReplayMarket)
    recording = load_recording(msgspec.structs.replace(settings.market, tick_size=Decimal("0.01")))
    (instrument,) = recording.instruments
    assert instrument.multiplier.as_decimal() == 10
    assert (instrument.margin_init, instrument.taker_fee) == (Decimal("0.1"), Decimal("0.0002"))
    with pytest.raises(BadData, match=r"simulated market .*: trade \d+: expected a multiple of .* tick size 0.05, got"):
        load_recording(settings.market)
    with pytest.raises(BadSetting, match="expected a tick_size in"):
        load_settings(written("simulate = 100", 'simulate = 100\ntick_size = "0"'))


def test_a_name_that_a_simulated_venue_cannot_trade_is_refused_with_one_that_it_can(written: Any) -> None:
    settings = load_settings(written("SIMUSD.SIM", "BTC_USDT.GATE-IO"))

    with pytest.raises(BadSetting, match=r"such as BTC-USDT.GATE_IO, got BTC_USDT.GATE-IO"):
        strategy_configs(settings, actor_config(settings, METADATA), METADATA)


@pytest.mark.parametrize(
    ("actor", "message"),
    [
        ({"path": "nowhere:Nobody"}, r"actors\[0\].path: nowhere:Nobody: expected a module, got none named nowhere"),
        ({"path": f"{__name__}:METADATA"}, r"actors\[0\].path: expected a class at .*:METADATA, got ModelMetadata"),
        ({"config_path": "witness:Config"}, r"actors\[0\].config_path: .*: expected an object of witness, got none"),
        ({"config": {"model": "tick", "file": ""}}, r"actors\[0\].config.file: expected a field of WitnessConfig"),
    ],
)
def test_actors_that_are_not_there_are_refused_by_name(actor: dict[str, Any], message: str) -> None:
    known = {
        "path": "witness:Witness",
        "config_path": "witness:WitnessConfig",
        "config": {"model": "tick", "path": "x"},
    }
    settings = load_settings(EXAMPLES[0].parent / "replay.toml")
    settings = msgspec.structs.replace(settings, actors=[ComponentSettings(**{**known, **actor})])
    loop = asyncio.new_event_loop()

    with pytest.raises(BadSetting, match=message):
        build_node(settings, METADATA, loop)

    loop.close()
