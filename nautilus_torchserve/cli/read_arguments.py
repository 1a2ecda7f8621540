"""The command line options that say how to read market data, the same for all commands that take ``--data``."""

from typing import Annotated, Literal

import typer

from nautilus_torchserve.market.read_options import BadReadOption, check_timezone


def _timezone(text: str) -> str:
    try:
        return check_timezone(text)
    except BadReadOption as error:
        raise typer.BadParameter(str(error)) from None


Stamp = Annotated[Literal["open", "close"], typer.Option(help="Which end of its bar a CSV's time is.")]
Timezone = Annotated[
    str | None,
    typer.Option(parser=_timezone, help="IANA zone of times without an offset, America/New_York; default: UTC."),
]
AllowJumps = Annotated[
    bool, typer.Option("--allow-jumps", help="Let prices through that jump as at an unadjusted split; they are listed.")
]
