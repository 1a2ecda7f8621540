"""Options about market data that several commands have, as `cli.options`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nautilus_torchserve.cli.app import parsed
from nautilus_torchserve.cli.options import duration
from nautilus_torchserve.market.read_options import check_timezone, parse_interval
from nautilus_torchserve.trading.durations import parse_latency


def bar_length(parse: Callable[[str], int]) -> Any:
    """Return the option ``--bar``, which NautilusTrader's host may refuse more of."""
    return typer.Option(parser=parsed(parse), metavar="BARS", help="Bar length: 1-MINUTE, 4-HOUR; default: as read.")


TradesData = Annotated[
    Path | None,
    typer.Option(help="Data to read: file, archive, folder or glob of trades, or a catalog; default: simulated."),
]
BarsData = Annotated[
    Path | None,
    typer.Option(help="Data to read: file, archive, folder or glob of bars, or a catalog; default: simulated."),
]
Instrument = Annotated[str | None, typer.Option(help="Instrument: of a catalog or CSV; default: the only one.")]
Stamp = Annotated[Literal["open", "close"], typer.Option(help="Which end of its bar a CSV's time is.")]
Timezone = Annotated[
    str | None,
    typer.Option(
        parser=parsed(check_timezone),
        metavar="ZONE",
        help="IANA zone of times without an offset: America/New_York; default: UTC.",
    ),
]
DateOrder = Annotated[
    Literal["day-first", "month-first"] | None,
    typer.Option(help="Order of dates that end with the year (01.02.2024); default: derived, or refused."),
]
DecimalMark = Annotated[
    Literal["point", "comma"] | None,
    typer.Option("--decimal", help="Decimal mark of numbers; default: derived, or refused."),
]
LayoutName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Layout of the files, as docs/data-formats.md names it; default: recognised."),
]
PriceType = Annotated[
    Literal["BID", "ASK", "MID", "LAST"] | None,
    typer.Option(help="Price type of a catalog's bars; default: the only one stored."),
]
AllowJumps = Annotated[
    bool, typer.Option("--allow-jumps", help="Let prices through that jump as at an unadjusted split; they are listed.")
]
Trades = Annotated[int, typer.Option(min=1, help="Trades to simulate.")]
BarCount = Annotated[int, typer.Option(min=1, help="Bars to simulate.")]
BarInterval = Annotated[int | None, bar_length(parse_interval)]
News = Annotated[
    Path | None, typer.Option(help="Headlines beside --data: CSV, JSON, Parquet, folders, globs; default: simulated.")
]
NewsDelay = Annotated[int | None, duration("Publication to receipt; default: as --news says.", parse=parse_latency)]
