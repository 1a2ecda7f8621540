"""Random calls of every command: its options by their declared types, valid but for one or two of them."""

import shutil
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args, get_origin

import typer.main
from fuzz_seeds import KINDS, Seeds

from fault_injection.commands import Call
from fault_injection.damage import damage, odd_path
from fault_injection.nasty import NASTY_TEXTS
from support import PROJECT, script_app

WORK = {
    "trades": 300,
    "bars": 250,
    "epochs": 1,
    "rounds": 1,
    "tune": 1,
    "number": 4,
    "observations": 200,
    "max_texts": 2,
    "size": 1000,
    "long": 100,
    "inline": 100,
    "folds": 1,
    "jobs": 1,
    "threads": 1,
    "swaps": 1,
    "rate": 1.0,
    "seconds": 0.2,
    "settings": "fit.epochs=1",
    "every": "1s",
    "for_": "1s",
    "watch": 0.1,
    "watch_s": 0.1,
    "hold": "1s",
    "model_ms": 1,
    "drain": 0.1,
    "drain_s": 0.1,
    "interval": 0.05,
    "once": True,
    "drawn": 2,
}
"""Options that say how much there is to do -> the most that a fuzzed call asks for; such a call always has them."""

MUST = frozenset({"url", "once", "data", "private", "only_data", "backbone", "quick", "store", "log", "run", "news"})
"""Options that every call has, too: without them it asks the default port, or trains on the whole corpus."""
TOGETHER = frozenset({"management_url", "inference_url", "model_store"})
"""Options that are refused unless all of them are given."""
FILES: dict[str, tuple[str, ...]] = {
    "data": ("trades", "bars", "catalog"),
    "news": ("headlines",),
    "evaluate": ("sentences",),
    "archive": ("archive",),
    "run": ("run",),
    "price_run": ("price_run",),
    "sentiment_run": ("sentiment_run",),
    "ensemble_run": ("ensemble_run",),
    "sentiment": ("sentiment_run",),
    "token_file": ("tokens",),
    "trusted": ("trusted",),
    "report": (),
    "out": (),
    "reports": (),
    "private": (),
    "home": (),
    "profile": (),
    "runs": ("mlflow",),
    "backbone": ("backbone",),
    "latency_profile": ("profile",),
    "folder": ("store",),
    "model_store": ("store",),
    "store": ("store",),
}
"""Path option -> what it reads; () is written. Others get any kind of file."""
OF_COMMAND: dict[tuple[str, str], tuple[str, ...]] = {
    ("bench_backtest", "run"): ("tick_run",),
    ("bench_serving", "run"): ("tick_run",),
    ("backtest tick", "data"): ("trades", "catalog"),
    ("backtest price", "data"): ("bars", "catalog"),
    ("backtest news", "data"): ("bars", "catalog"),
    ("sweep tick", "data"): ("trades", "catalog"),
    ("sweep price", "data"): ("bars", "catalog"),
    ("train tick", "data"): ("trades", "catalog"),
    ("train price", "data"): ("bars", "catalog"),
    ("train ensemble", "data"): ("bars", "catalog"),
    ("train sentiment", "data"): ("sentences",),
    ("parity", "data"): ("trades", "catalog"),
    ("explain price", "data"): ("bars", "catalog"),
    ("explain ensemble", "data"): ("bars", "catalog"),
    ("explain trade", "report"): ("report",),
    ("live", "config"): ("live",),
    ("train price", "config"): ("tuned",),
    ("keys", "trusted"): (),
    ("archive", "out"): (),
    ("demo", "store"): (),
    ("demo", "run"): (),
}
"""The same where an option's name means another thing in one command."""

URLS = ("mar", "mar", "mar", "mar", "http://127.0.0.1:1", "http://127.0.0.1:1/", "https://127.0.0.1:1", "http://")
TEXTS: dict[str, tuple[str, ...]] = {
    "url": URLS,
    "management_url": URLS[4:],
    "inference_url": URLS[4:],
    "metrics_url": URLS[4:],
    "log": ("parquet:audit", "sqlite:///audit.db"),
    "traffic": ("sqlite:///traffic.db",),
    "store": ("sqlite:///traffic.db",),
    "sign_key": ("key", "env:KEY"),
    "key": ("key", "env:KEY"),
    "models": ("tick=tick_mar.mar", "tick"),
    "instrument": ("BTCUSDT.BINANCE",),
    "timezone": ("UTC", "Asia/Tokyo"),
    "currency": ("USD", "USDT", "JPY"),
    "stamp": ("open", "close"),
    "device": ("cpu", "auto"),
    "cell": ("lstm",),
    "model": ("tick", "price", "sentiment", "ensemble"),
    "version": ("1.0", "2.0"),
    "output": ("buy", "sell", "up"),
    "changed": ("min_probability=0.4,0.5", "min_confidence=0.5,0.6", "cooldown_ns=1s,2s", "fee_bps=0,1"),
    "latency_sweep": ("0,1,5ms",),
    "arrivals": ("poisson:50", "trades"),
    "ray": ("127.0.0.1:1",),
    "texts": ("Profit rose", "The bank warns"),
    "name": ("e1", "production", "staging"),
    "a": ("1.0",),
    "b": ("2.0",),
    "rule": ("alpha=0.05", "min_predictions=10"),
    "steps": ("1,100", "50,100"),
    "challenger": ("2.0",),
    "baseline": ("1.0",),
    "to": ("2.0",),
    "order_id": ("O-20231114-221320-001-000-1",),
}
"""Text option -> valid ones; others get names and odd texts."""
_NAMES_OF_FILES = frozenset({"url", "log", "traffic", "sign_key", "key", "arrivals"})
TIMES, INTERVALS = ("1s", "500ms", "10s", "1d", "2m", "1us"), ("1-MINUTE", "5-MINUTE", "4-HOUR")
ROW = ("1.5", "0.4", "0.5", "0.2")


def commands() -> dict[str, Any]:
    """Every command of scripts/ -> typer's command object: ``train price``."""
    commands = {}
    for path in sorted({*(PROJECT / "scripts").glob("*.py")} - {PROJECT / "scripts/cli_reference.py"}):
        command = typer.main.get_command(script_app(path))
        subcommands = getattr(command, "commands", None)
        if subcommands is None:
            commands[path.stem] = command
        else:
            commands.update({f"{path.stem} {name}": each for name, each in subcommands.items()})
    return commands


class Calls:
    """Makes random calls, each in a folder of its own."""

    def __init__(self, seeds: Seeds, folder: Path) -> None:
        self._seeds = seeds
        self._folder = folder
        self._commands = commands()

    @property
    def names(self) -> list[str]:
        """All commands."""
        return list(self._commands)

    def make(self, name: str, number: int, seed: int) -> Call:
        """Return call ``number`` of the run with this seed."""
        random = Random(f"{seed} {number} {name}")
        folder = self._folder / f"{number}"
        folder.mkdir(parents=True)
        values = _Values(self._seeds, folder, name, random)
        parameters = [parameter for parameter in self._commands[name].params if parameter.name != "help"]
        whole = random.random() < 0.3
        chosen = [
            parameter
            for parameter in parameters
            if _always(parameter) or (whole if parameter.name in TOGETHER else random.random() < 0.15)
        ]
        damaged = {parameter.name for parameter in random.sample(chosen, min(len(chosen), random.choice((0, 0, 1, 1))))}
        files = [parameter.name for parameter in chosen if values.is_file(parameter)]
        damaged |= set(random.sample(files, min(len(files), random.choice((0, 1, 1, 2)))))
        arguments, positional = name.split()[1:], []
        for parameter in chosen:
            text = values.of(parameter, parameter.name in damaged)
            if parameter.param_type_name == "argument":
                positional += text
            elif getattr(parameter, "is_flag", False):
                arguments.append(parameter.opts[0])
            else:
                for one in text:
                    arguments += [random.choice(parameter.opts), one]
        if random.random() < 0.02:
            arguments.append(random.choice(("--no-such-option", "--", "-x", "extra")))
        environment = {"KEY": (self._seeds["key"].read_text() if random.random() < 0.7 else random.choice(NASTY_TEXTS))}
        return Call(name.split()[0], (*arguments, *positional), folder, environment)


def _always(parameter: Any) -> bool:
    """Whether every call has it: it is required, bounds the work, or its default lies outside of the call's folder."""
    default = parameter.default
    outside = isinstance(default, str | Path) and Path(default).is_absolute()
    work = parameter.name in WORK and not isinstance(default, bool)
    return parameter.required or work or outside or parameter.name in MUST


@dataclass(frozen=True)
class _Values:
    seeds: Seeds
    folder: Path
    command: str
    random: Random

    def of(self, parameter: Any, damaged: bool) -> list[str]:
        """Return one text, or several where several are taken."""
        several = getattr(parameter, "multiple", False) or parameter.nargs == -1
        if parameter.name == "row":
            row = list(ROW)
            if damaged:
                row[self.random.randrange(4)] = self.random.choice(NASTY_TEXTS)
                del row[self.random.choice((4, 4, 3)) :]
            return row
        count = self.random.choice((1, 1, 1, 2)) if several and parameter.name != "instrument" else 1
        return [self._one(parameter, damaged) for _ in range(count)]

    def is_file(self, parameter: Any) -> bool:
        """Whether it names a file, a folder or a database that is read."""
        is_path = parameter.type_descriptor.annotation in (Path, list[Path])
        return parameter.name in _NAMES_OF_FILES or (is_path and FILES.get(parameter.name) != ())

    def _one(self, parameter: Any, damaged: bool) -> str:
        info = parameter.type_descriptor.parameter_info
        kind = parameter.type_descriptor.annotation
        kind = get_args(kind)[0] if get_origin(kind) is list else kind
        name, random = parameter.name, self.random
        if kind is Path:
            return self._path(name, damaged)
        if damaged and kind in (str, int, float) and random.random() < 0.7 and not (kind is str and name in TEXTS):
            if name not in WORK:
                return random.choice((*NASTY_TEXTS, "1e9", "1e18", "-0.1", "0.999999"))
            return random.choice(("nan", "-1", "0", "x", "", "-inf", "1e-9"))
        if name in WORK:
            return f"{max(WORK[name], info.min or 0) if isinstance(WORK[name], int) else WORK[name]}"
        by_default = name not in _NAMES_OF_FILES and isinstance(parameter.default, str | int | float)
        if not damaged and by_default and random.random() < 0.7:
            return f"{parameter.default}"
        if info.parser is not None and name not in TEXTS:
            return random.choice(INTERVALS if name == "bar" else (*TIMES, *INTERVALS))
        if get_origin(kind) is Literal:
            return random.choice(NASTY_TEXTS) if damaged else random.choice(get_args(kind))
        if isinstance(kind, type) and issubclass(kind, Enum):
            return random.choice(NASTY_TEXTS) if damaged else random.choice([member.value for member in kind])
        if kind is int:
            return f"{max(random.choice((0, 1, 2, 7, 100)), 0 if damaged else info.min or 0)}"
        if kind is float:
            return random.choice(("0", "0.1", "0.4", "0.5", "1", "2", "10"))
        return self._text(name, damaged)

    def _text(self, name: str, damaged: bool) -> str:
        random = self.random
        if damaged and random.random() < (0.1 if name in _NAMES_OF_FILES else 0.3):
            return random.choice(NASTY_TEXTS)
        text = random.choice(TEXTS.get(name, ("tick", "1.0", "x", "BTCUSDT.BINANCE")))
        if name == "model" and self.command.split()[-1] in TEXTS["model"] and random.random() < 0.8:
            return self.command.split()[-1]
        if text == "mar":
            model = next((name for name in TEXTS["model"] if name in self.command), None)
            kind = {"backtest news": "ensemble", "parity": "tick"}.get(self.command, model)
            return f"mar:{self._copy(f'{kind}_mar' if kind else self._seed('archive'), damaged)}"
        if text == "key":
            return f"{self._copy('key', damaged)}"
        if text == "trades":
            return f"{self._copy('trades', damaged)}"
        if text == "parquet:audit":
            return f"parquet:{self._copy('audit', damaged)}"
        if text == "sqlite:///traffic.db":
            return f"sqlite:///{self._copy('traffic', damaged)}"
        if damaged:
            at = random.randrange(len(text) + 1)
            return text[:at] + random.choice(NASTY_TEXTS) + text[at:]
        return text

    def _path(self, name: str, damaged: bool) -> str:
        random = self.random
        kinds = OF_COMMAND.get((self.command, name), FILES.get(name, (*KINDS, "tokens", "profile", "tuned", "key")))
        if (damaged and random.random() < 0.25) or (not kinds and damaged):
            return f"{odd_path(self.folder, random)}"
        if not kinds:
            return f"{self.folder / 'written' / name}"
        if random.random() < 0.04:
            kinds = (*KINDS, "tokens", "profile", "tuned", "key", "live", "report", "properties")
        return f"{self._copy(self._seed(random.choice(kinds)), damaged)}"

    def _seed(self, kind: str) -> str:
        """Return a seed of this kind, of this command's model where it says one."""
        kinds = KINDS.get(kind, (kind,))
        model = self.command.split()[-1]
        fitting = [kind for kind in kinds if kind.startswith(model)]
        return self.random.choice(fitting or kinds)

    def _copy(self, kind: str, damaged: bool) -> Path:
        """Copy a seed into the call's folder, and damage the copy."""
        source = self.seeds[kind]
        number = len(list(self.folder.iterdir()))
        copied = self.folder / self.random.choice((f"{number}", f"{number} é [/b]")) / source.name
        copied.parent.mkdir(parents=True, exist_ok=True)
        if copied.exists():
            return copied
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, copied)
        if damaged:
            damage(copied, self.random)
        return copied
