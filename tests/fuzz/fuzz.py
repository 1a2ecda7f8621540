"""Call every command with damaged inputs; none may show a traceback: ``python tests/fuzz/fuzz.py 10000 --seed 7``.

Each call is made in a fork of this process, in an empty folder, with a home of its own. What is left out, and why:

- a Java that works: servers are never started (seconds each, ports). What is called is a Java that ends at once, so
  that commands get as far as TorchServe's start and report that it failed.
- sizes of work (`fuzz_commands.WORK`) above some hundreds of trades, bars and one epoch; ``demo news`` without a
  sentiment model that is there already (minutes).
- connections that are answered: URLs are of archives (``mar:``) or of a closed port.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path
from random import Random

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(PROJECT / "tests"), str(PROJECT / "tests/fuzz"), str(PROJECT)]

from fuzz_commands import Calls  # noqa: E402
from fuzz_seeds import Seeds  # noqa: E402

from fault_injection.commands import Call, fault_of, quiet_environment, run  # noqa: E402

PRELOADED = (
    "nautilus_torchserve.mlflow_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "transformers",
    "optuna",
    "plotly.graph_objects",
    "nautilus_trader.backtest.engine",
    "nautilus_trader.live.node",
    "nautilus_torchserve.training.price.run",
    "nautilus_torchserve.training.sentiment.run",
    "nautilus_torchserve.training.runs.tuning",
    "nautilus_torchserve.registry.registry",
    "sklearn.metrics",
    "scipy.stats",
)
"""What commands import only when they need it, for many calls imported once."""


def main() -> int:
    """Call, report what broke, and return 1 where anything did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int, help="calls")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="part of a command's name")
    parser.add_argument("--call", type=int, help="this one only, and keep its folder")
    parser.add_argument("--verbose", action="store_true", help="show every call and how it ended")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    os.environ.update(quiet_environment(folder))
    seeds = Seeds(folder / "seeds", lambda script, arguments: _must_succeed(Call(script, tuple(arguments), folder)))
    calls = Calls(seeds, folder / "calls")
    names = [name for name in calls.names if options.only in name]
    for module in PRELOADED if options.number > 50 else ():
        import_module(module)
    order = Random(options.seed)
    faults, statuses = [], Counter()
    for number in range(options.number):
        if number % len(names) == 0:
            order.shuffle(names)
        if options.call is not None and number != options.call:
            continue
        call = calls.make(names[number % len(names)], number, options.seed)
        began = time.monotonic()
        if options.verbose:
            print(f"{number}: {call}", flush=True)
        status, out, err = run(call)
        fault = fault_of(call, status, out, err)
        statuses[status] += 1
        if options.verbose:
            last = next((line for line in reversed(err.splitlines()) if line.strip("╰─╯ ")), "")
            print(f"    {time.monotonic() - began:.1f} s, status {status}: {last[:300]}", flush=True)
        if fault:
            faults.append(fault)
            print(f"call {number} of seed {options.seed}: {fault}: {call}\n{out[-500:]}{err[-2500:]}\n", flush=True)
        if options.call is None:
            shutil.rmtree(call.folder)
    print(json.dumps({"calls": sum(statuses.values()), "statuses": dict(statuses), "faults": len(faults)}))
    if options.call is None:
        shutil.rmtree(folder)
    return 1 if faults else 0


def _must_succeed(call: Call) -> None:
    status, out, err = run(call)
    for name in (".stdout", ".stderr"):
        (call.folder / name).unlink(missing_ok=True)
    assert status == 0, f"{call}\n{out}{err}"


if __name__ == "__main__":
    sys.exit(main())
