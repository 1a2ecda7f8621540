"""A/B experiments on a model's live traffic, with statistics that stay valid however often they are read."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from nautilus_torchserve.cli import experiment_console
from nautilus_torchserve.cli.app import App, catch_interrupts, console, echo, parsed, print_json
from nautilus_torchserve.cli.options import AnyModel, By, ForS, Json, ModelArgument, SliceS, Store, seconds, seed_option
from nautilus_torchserve.cli.target_options import ServerOptions, SwitchOptions
from nautilus_torchserve.experiments.ab.analysis import Analysis
from nautilus_torchserve.experiments.ab.analysis import analyze as analyze_once
from nautilus_torchserve.experiments.ab.auto import AutoSettings, follow
from nautilus_torchserve.experiments.ab.experiment import (
    challenger_instruments,
    concerns,
    experiments,
    find_experiment,
    plan,
)
from nautilus_torchserve.experiments.ab.rules import Rules
from nautilus_torchserve.experiments.ab.simulation import error_rates
from nautilus_torchserve.experiments.lifecycle import check_challenger
from nautilus_torchserve.traffic.split import State, Unit
from nautilus_torchserve.traffic.store import DEFAULT_URL, TrafficStore
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.names import check_version

app = App(help=__doc__, no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The experiment's name.")]


@app.command()
def create(
    model: ModelArgument,
    challenger: Annotated[
        str,
        typer.Option(parser=parsed(check_version), metavar="VERSION", help="Challenger version, registered and READY."),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            parser=parsed(check_version),
            metavar="VERSION",
            help="Baseline version; default: the server's default version.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name: unique, it decides the instruments or slices of each version; default: from model and time."
        ),
    ] = None,
    share: Annotated[
        float, typer.Option(help="Share in percent (of the instruments or slices, for the challenger).")
    ] = 10.0,
    by: By = Unit.INSTRUMENT,
    slice_: SliceS = "1h",  # type: ignore[assignment]
    instrument: Annotated[
        list[str] | None, typer.Option(help="Instrument (that is traded, to show its version); repeatable.")
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(help="Decision rule NAME=VALUE (see nautilus_torchserve/experiments/ab/rules.py); repeatable."),
    ] = None,
    no_server: Annotated[
        bool, typer.Option("--no-server", help="Do not check on the server that both versions respond.")
    ] = False,
    store: Store = DEFAULT_URL,
    *,
    server: ServerOptions,
    as_json: Json = False,
) -> None:
    """Start an experiment; routers follow it at once, its rules are fixed."""
    if no_server and baseline is None:
        raise typer.BadParameter("expected --baseline with --no-server, got none")
    if not no_server:
        baseline, _ = check_challenger(server.target(), model, challenger, baseline)
    planned = plan(
        model,
        str(baseline),
        challenger,
        share=share / 100,
        unit=by,
        slice_ns=round(slice_ * 1e9),
        rules=Rules.from_texts(rule or ()),
        name=name,
    )
    with TrafficStore(store) as traffic:
        experiment = traffic.start(planned)
    assigned = challenger_instruments(experiment, instrument or ())
    warnings = concerns(experiment, instrument or ())
    if as_json:
        settings = asdict(Rules.from_json(experiment.settings))
        document = {**asdict(experiment), "settings": settings, "with_challenger": assigned, "concerns": warnings}
        print_json(document)
    echo(experiment_console.described(experiment))
    if instrument and by is Unit.INSTRUMENT:
        echo(f"with {challenger}: {', '.join(assigned) or 'none'} of {len(instrument)} instruments")
    for warning in warnings:
        echo(f"warning: {warning}")


@app.command()
def status(model: AnyModel = None, store: Store = DEFAULT_URL, as_json: Json = False) -> None:
    """List experiments with their number of predictions and their decision."""
    with TrafficStore(store) as traffic:
        analyses = [analyze_once(traffic, experiment.name) for experiment in experiments(traffic, model)]
    if as_json:
        print_json({"experiments": [analysis.as_dict() for analysis in analyses]})
        return
    for analysis in analyses:
        baseline, challenger = analysis.baseline.classification, analysis.challenger.classification
        echo(experiment_console.described(analysis.experiment))
        echo(
            f"  scored predictions {baseline.predictions:,} and {challenger.predictions:,}; "
            f"{analysis.decision.action}: {analysis.decision.reason}"
        )
    if not analyses:
        echo("no experiments")


@app.command()
def analyze(
    name: Name,
    store: Store = DEFAULT_URL,
    auto: Annotated[bool, typer.Option("--auto", help="Carry the decision out on the server.")] = False,
    every: Annotated[float | None, seconds("Time between two analyses (with --auto); default: a single one.")] = None,
    for_: ForS = "1d",  # type: ignore[assignment]
    *,
    switch: SwitchOptions,
    server: ServerOptions,
    as_json: Json = False,
) -> None:
    """Analyse an experiment; with --auto promote or remove its challenger once decided."""
    if every is not None and not auto:
        raise typer.BadParameter("expected --auto with --every, got none")
    outcome: dict[str, Any] = {}

    def show_reason(analysis: Analysis) -> None:
        echo(f"{name}: {analysis.decision.reason}")

    with TrafficStore(store) as traffic:
        if auto:
            catch_interrupts()  # a promotion is undone
            period = {} if every is None else {"every_s": every, "for_s": for_}
            settings = AutoSettings(limits=switch.limits(), **period)
            outcome = follow(server.target(), traffic, name, settings, echo, show_reason).as_dict()
        analysis = analyze_once(traffic, name)
    if as_json:
        print_json(analysis.as_dict() | ({"outcome": outcome} if auto else {}))
    else:
        echo(experiment_console.described(analysis.experiment))
        console.print(experiment_console.metrics_table(analysis), experiment_console.differences_table(analysis))
        echo(experiment_console.decision(analysis))
    if auto:
        text = f"{outcome['state']}: {outcome['reason']}"
        if not outcome["ok"]:
            raise UserError(text)
        echo(text)


@app.command()
def stop(name: Name, store: Store = DEFAULT_URL, as_json: Json = False) -> None:
    """End an experiment without a decision: the baseline serves on, the challenger stays registered."""
    with TrafficStore(store) as traffic:
        ended = traffic.end(find_experiment(traffic, name).name, State.STOPPED)
    if as_json:
        print_json(asdict(ended))
    echo(experiment_console.described(ended))


@app.command()
def simulate(
    number: Annotated[int, typer.Option("--experiments", min=4, help="Number of experiments of each kind.")] = 2_000,
    observations: Annotated[int, typer.Option(min=200, help="Number of predictions per experiment.")] = 5_000,
    seed: Annotated[int, seed_option("simulation")] = 1,
    as_json: Json = False,
) -> None:
    """Show the error rates: false promotions of equal versions, and how long a better one takes."""
    with console.status("Simulating"):
        rates = error_rates(number, observations, seed)
    if as_json:
        print_json(rates.as_dict())
        return
    for table in experiment_console.error_rate_tables(rates):
        console.print(table)
    echo(experiment_console.error_rate_summary(rates))
