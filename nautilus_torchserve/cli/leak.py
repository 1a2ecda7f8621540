"""Prove that a spec's features know nothing of the future: ``nautilus-torchserve leak SPEC --data trades.csv``."""

from dataclasses import asdict
from typing import Annotated

from nautilus_torchserve.cli.app import App, echo, print_json
from nautilus_torchserve.cli.backtest_options import BarSources, InstrumentFlags
from nautilus_torchserve.cli.options import Json, seed_option
from nautilus_torchserve.cli.own_model import CustomCatalogs, EventCount, Spec, load_market
from nautilus_torchserve.trading.features.leak import find_leaks
from nautilus_torchserve.user_error import UserError

app = App()


class FeaturesLeak(UserError):
    """A value of a feature depends on what it must not."""


@app.command()
def main(
    spec: Spec,
    sources: BarSources,
    instruments: InstrumentFlags,
    custom: CustomCatalogs = None,
    events: EventCount = 60_000,
    seed: Annotated[int, seed_option("the simulation")] = 1,
    as_json: Json = False,
) -> None:
    """Compute the features of SPEC without the future, from later beginnings and twice, and compare to the bit.

    Features are those of the first of --data. Exit status 1 where a value differs, with its row and column.
    """
    data = load_market(spec, sources, events, seed, custom=custom or ())
    report = find_leaks(spec, data, options=instruments.options())
    if as_json:
        print_json(asdict(report))
    else:
        for note in report.notes:
            echo(f"not checked: {note}")
        echo(f"{report.rows:,} rows, {report.comparisons} comparisons, {len(report.leaks)} differ")
    if report.leaks:
        raise FeaturesLeak("; ".join(leak.sentence for leak in report.leaks))
