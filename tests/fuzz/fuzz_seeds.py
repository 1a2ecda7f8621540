"""Valid files of every kind that a command reads, small, each made once when it is first wanted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from news_run import write_backbone, write_ensemble_run, write_sentiment_run
from price_run import write_price_run

TRADES, BARS = 900, 700
START_MS = 1_700_000_000_000
_PUBLISHED = range(START_MS, START_MS + 25 * 600_000, 600_000)


class Seeds:
    """A folder of valid files: ``seeds["trades"]`` is one, made at the first call."""

    def __init__(self, folder: Path, run: Callable[[str, list[str]], None]) -> None:
        self._folder = folder
        self._run = run
        """Runs a command of scripts/ to its end."""

    def __getitem__(self, kind: str) -> Path:
        name, make = _MAKERS[kind]
        path = self._folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            make(self, path)
            assert path.exists(), f"{kind}: a seed expected, was not made"
        return path

    def run(self, script: str, *arguments: str | Path) -> None:
        """Run a command that has to succeed."""
        self._run(script, [f"{argument}" for argument in arguments])


KINDS: dict[str, tuple[str, ...]] = {
    "trades": ("trades",),
    "bars": ("bars",),
    "catalog": ("catalog",),
    "headlines": ("headlines", "headlines_jsonl"),
    "sentences": ("sentences", "labelled"),
    "run": ("tick_run", "price_run", "sentiment_run", "ensemble_run"),
    "archive": ("tick_mar", "price_mar", "sentiment_mar", "ensemble_mar", "signed_mar"),
}
"""What an option may take -> the seeds that do."""


def _trades(seeds: Seeds, path: Path) -> None:
    random = np.random.default_rng(1)
    prices = 100 + np.cumsum(random.normal(0, 0.05, TRADES)).round(2)
    rows = zip(range(TRADES), prices.round(2), random.integers(1, 500, TRADES) / 1000, strict=True)
    path.write_text(
        "id,price,qty,quote_qty,time,is_buyer_maker\n"
        + "".join(
            f"{at},{price:.2f},{size:.3f},{price * size:.5f},{START_MS + 250 * at},{'true' if at % 3 else 'false'}\n"
            for at, price, size in rows
        )
    )


def _bars(seeds: Seeds, path: Path) -> None:
    random = np.random.default_rng(2)
    closes = (100 + np.cumsum(random.normal(0, 0.2, BARS))).round(2)
    opens = np.concatenate([[100.0], closes[:-1]])
    path.write_text(
        "timestamp,open,high,low,close,volume\n"
        + "".join(
            f"{START_MS // 60_000 * 60_000 + 60_000 * at},"
            f"{o:.2f},{max(o, c) + 0.05:.2f},{min(o, c) - 0.05:.2f},{c:.2f},{v}\n"
            for at, (o, c, v) in enumerate(zip(opens, closes, random.integers(1, 900, BARS), strict=True))
        )
    )


def _headlines(seeds: Seeds, path: Path) -> None:
    path.write_text(
        "timestamp,ts_init,headline\n"
        + "".join(
            f'{published},{published + 900},"Profit rose {at}, record order"\n'
            for at, published in enumerate(_PUBLISHED)
        )
    )


def _headlines_jsonl(seeds: Seeds, path: Path) -> None:
    path.write_text(
        "".join(
            json.dumps({"timestamp": published, "ts_init": published + 900, "headline": "The bank warns"}) + "\n"
            for published in _PUBLISHED
        )
    )


def _sentences(seeds: Seeds, path: Path) -> None:
    labels = ("positive", "negative", "neutral")
    path.write_text("text,label\n" + "".join(f"Profit rose strong {at},{labels[at % 3]}\n" for at in range(240)))


def _labelled(seeds: Seeds, path: Path) -> None:
    labels = ("positive", "negative", "neutral")
    path.write_text("".join(f"Shares of company {at} fell today@{labels[at % 3]}\n" for at in range(240)))


def _catalog(seeds: Seeds, path: Path) -> None:
    from nautilus_trader.model.data import BarType, TradeTick
    from nautilus_trader.model.enums import AggressorSide
    from nautilus_trader.model.identifiers import TradeId
    from nautilus_trader.persistence.catalog import ParquetDataCatalog
    from nautilus_trader.persistence.wranglers import BarDataWrangler
    from nautilus_trader.test_kit.providers import TestInstrumentProvider

    instrument = TestInstrumentProvider.btcusdt_binance()
    catalog = ParquetDataCatalog(path)
    frame = pd.read_csv(seeds["bars"])
    frame.index = pd.to_datetime(frame.pop("timestamp"), unit="ms", utc=True)
    bar_type = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")
    trades = [
        TradeTick(
            instrument.id,
            instrument.make_price(trade.price),
            instrument.make_qty(trade.qty),
            AggressorSide.BUYER,
            TradeId(f"{trade.id}"),
            trade.time * 10**6,
            trade.time * 10**6,
        )
        for trade in pd.read_csv(seeds["trades"]).itertuples()
    ]
    for data in ([instrument], trades, BarDataWrangler(bar_type, instrument).process(frame)):
        catalog.write_data(data)


def _tick_run(seeds: Seeds, path: Path) -> None:
    seeds.run("train", "tick", "--trades", "3000", "--epochs", "1", "--out", path)


def _packed(model: str) -> Callable[[Seeds, Path], None]:
    return lambda seeds, path: seeds.run("archive", model, "--run", seeds[f"{model}_run"], "--out", path.parent)


def _key(seeds: Seeds, path: Path) -> None:
    seeds.run("keys", "alice", "--private", path, "--trusted", path.parent / "trusted")


def _trusted(seeds: Seeds, path: Path) -> None:
    assert seeds["key"]


def _signed(seeds: Seeds, path: Path) -> None:
    shutil.copyfile(seeds["tick_mar"], path)
    seeds.run("sign", path, "--key", seeds["key"])


def _tokens(seeds: Seeds, path: Path) -> None:
    ends = {"expiration time": "2030-01-01T00:00:00.000000Z"}
    path.write_text(
        json.dumps(
            {
                "management": {"key": "m" * 8, **ends},
                "inference": {"key": "i" * 8, **ends},
                "API": {"key": "a" * 8},
            }
        )
    )


def _profile(seeds: Seeds, path: Path) -> None:
    from nautilus_torchserve.latency.profile import LatencyProfile, save_profile

    save_profile(LatencyProfile(np.array([10**6, 2 * 10**6, 3 * 10**6]), 2, {"model": "tick"}), path)


def _report(seeds: Seeds, path: Path) -> None:
    seeds.run(
        "backtest",
        "tick",
        "--data",
        seeds["trades"],
        "--url",
        f"mar:{seeds['tick_mar']}",
        "--in-sample",
        "--report",
        path,
        "--min-probability",
        "0.34",
        "--cooldown",
        "1ms",
        "--latency",
        "0",
    )


def _live(seeds: Seeds, path: Path) -> None:
    path.write_text(f"""[market]
kind = "replay"
simulate = 200
seed = 9
speed = 100.0
warm_up = 150

[execution]
kind = "sandbox"
balance = "10000 USD"

[model]
kind = "tick"

[model.actor]
url = "mar:{seeds["tick_mar"]}"
instrument_id = "SIMUSD.SIM"
warm_up_ns = "1h"

[model.actor.live]
deadline_ns = "5s"

[strategy]
trade_size = "0.01"
max_position = "0.01"
min_probability = 0.45
max_age_ns = "5s"
on_failure = "hold"

[risk]
max_daily_loss = "200"
kill_file = "kill"

[audit]
url = "parquet:audit"
""")


def _audit(seeds: Seeds, path: Path) -> None:
    config = path.parent / "for-audit.toml"
    config.write_text(seeds["live"].read_text().replace("parquet:audit", f"parquet:{path}"))
    seeds.run("live", config)


def _traffic(seeds: Seeds, path: Path) -> None:
    seeds.run(
        "experiment",
        "create",
        "tick",
        "--challenger",
        "2.0",
        "--baseline",
        "1.0",
        "--no-server",
        "--name",
        "e1",
        "--store",
        f"sqlite:///{path}",
    )


def _mlflow(seeds: Seeds, path: Path) -> None:
    seeds.run("registry", "add", seeds["signed_mar"], "--runs", path, "--trusted", seeds["trusted"])


def _properties(seeds: Seeds, path: Path) -> None:
    path.write_text(
        "inference_address=http://127.0.0.1:8080\nmanagement_address=http://127.0.0.1:8081\n"
        "metrics_address=http://127.0.0.1:8082\nmodel_store=/models\ndefault_workers_per_model=1\n"
    )


def _tuned(seeds: Seeds, path: Path) -> None:
    path.write_text(json.dumps({"network": {"hidden": 8, "layers": 1}, "fit": {"epochs": 1, "learning_rate": 0.001}}))


def _folder_of_archives(seeds: Seeds, path: Path) -> None:
    path.mkdir()
    for kind in ("tick_mar", "signed_mar"):
        shutil.copyfile(seeds[kind], path / f"{kind}.mar")


_MAKERS: dict[str, tuple[str, Callable[[Seeds, Path], None]]] = {
    "trades": ("BTCUSDT-trades-2023-11.csv", _trades),
    "bars": ("BTCUSDT-1m-2023-11.csv", _bars),
    "catalog": ("catalog", _catalog),
    "headlines": ("headlines.csv", _headlines),
    "headlines_jsonl": ("headlines.jsonl", _headlines_jsonl),
    "sentences": ("sentences.csv", _sentences),
    "labelled": ("labelled.txt", _labelled),
    "backbone": ("backbone", lambda seeds, path: write_backbone(path) and None),
    "tick_run": ("runs/tick", _tick_run),
    "price_run": ("runs/price", lambda seeds, path: write_price_run(path) and None),
    "sentiment_run": ("runs/sentiment", lambda seeds, path: write_sentiment_run(path, seeds["backbone"]) and None),
    "ensemble_run": (
        "runs/ensemble",
        lambda seeds, path: write_ensemble_run(path, seeds["price_run"], seeds["sentiment_run"]) and None,
    ),
    "tick_mar": ("store/tick.mar", _packed("tick")),
    "price_mar": ("store/price.mar", _packed("price")),
    "sentiment_mar": ("store/sentiment.mar", _packed("sentiment")),
    "ensemble_mar": ("store/ensemble.mar", _packed("ensemble")),
    "key": ("alice.key", _key),
    "trusted": ("trusted", _trusted),
    "signed_mar": ("signed.mar", _signed),
    "tokens": ("key_file.json", _tokens),
    "profile": ("profile.json", _profile),
    "report": ("report", _report),
    "live": ("live.toml", _live),
    "audit": ("audit", _audit),
    "traffic": ("traffic.db", _traffic),
    "mlflow": ("mlflow", _mlflow),
    "properties": ("config.properties", _properties),
    "tuned": ("tuned.json", _tuned),
    "store": ("incoming", _folder_of_archives),
}
