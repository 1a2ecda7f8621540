"""Run the benchmarks of a checkout."""

from nautilus_torchserve.cli.app import App

BENCHMARKS = {
    "serving": "Compare TorchServe with its defaults, FastAPI and the bare forward, or record latencies.",
    "backtest": "Measure backtests with prefetched predictions, and with one request a trade.",
    "live": "Measure how long a trade waits for its handler in a live node.",
    "rollout": "Measure swaps of versions under load, and rollbacks.",
    "features": "Measure the tick features: streaming, recomputed and vectorised.",
}
PACKAGE = "benchmarks.commands"
app = App(package=PACKAGE, help=__doc__, no_args_is_help=True)
for _name, _summary in BENCHMARKS.items():
    app.lazy_command(_name, _summary)
