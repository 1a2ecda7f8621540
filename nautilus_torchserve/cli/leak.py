"""Prove that a spec's features know nothing of the future: ``nautilus-torchserve leak SPEC --data trades.csv``."""

from dataclasses import asdict
from typing import Annotated

from nautilus_torchserve.cli.app import App, echo, print_json
from nautilus_torchserve.cli.backtest_options import BarSources, InstrumentFlags
from nautilus_torchserve.cli.options import Json, seed_option
from nautilus_torchserve.cli.own_model import CustomCatalog, EventCount, QuoteFiles, Spec, load_market
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
    quotes: QuoteFiles = None,
    custom: CustomCatalog = None,
    events: EventCount = 60_000,
    seed: Annotated[int, seed_option("the simulation")] = 1,
    as_json: Json = False,
) -> None:
    """Compute the features of SPEC without the future, from later beginnings and in other surroundings, and compare.

    Features are those of the first of --data, and of others that the data suffice for. Exit status 1 where a value
    differs, with its row, column and probable cause, or where features read more than their data.
    """
    report = find_leaks(
        spec, load_market(spec, sources, events, seed, quotes or (), custom), options=instruments.options()
    )
    if as_json:
        print_json(asdict(report))
    else:
        for note in report.notes:
            echo(f"not checked: {note}")
        echo(f"{report.rows:,} rows, {report.comparisons} comparisons, {len(report.leaks)} differ")
    if report.leaks:
        raise FeaturesLeak("; ".join(leak.sentence for leak in report.leaks))
