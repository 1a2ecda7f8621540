"""A/B experiments on a model's live traffic, with statistics that may be looked at as often as one likes."""

import json
import signal
from dataclasses import asdict
from typing import Annotated, Any

import typer

from nautilus_torchserve.cli import experiment_console as experiment_words
from nautilus_torchserve.cli.app import App, console, parsed, say
from nautilus_torchserve.cli.options import (
    AnyModel,
    By,
    DrainS,
    ForS,
    Json,
    ModelArgument,
    SliceS,
    Store,
    WatchS,
    seconds,
)
from nautilus_torchserve.cli.target_options import FindTarget, takes_server
from nautilus_torchserve.experiments.ab.analysis import Analysis
from nautilus_torchserve.experiments.ab.analysis import analyze as analyze_once
from nautilus_torchserve.experiments.ab.auto import AutoSettings, check_versions, follow
from nautilus_torchserve.experiments.ab.error_rates import error_rates
from nautilus_torchserve.experiments.ab.experiment import concerns, experiments, find_experiment, plan, with_challenger
from nautilus_torchserve.experiments.ab.rules import Rules
from nautilus_torchserve.release.rollout.limits import Limits
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.traffic.split import State, Unit
from nautilus_torchserve.traffic.store import DEFAULT_URL, TrafficStore
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.names import check_version

app = App(help=__doc__, no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The experiment's name.")]
_D = Limits()


@app.command()
@takes_server
def create(
    server: FindTarget,
    model: ModelArgument,
    challenger: Annotated[
        str,
        typer.Option(parser=parsed(check_version), metavar="VERSION", help="Version on trial, registered and READY."),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            parser=parsed(check_version), metavar="VERSION", help="Version that serves; default: the server's."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Unique name, which decides the instruments or slices of each version; default: made up."),
    ] = None,
    share: Annotated[
        float, typer.Option(help="Share in percent: of the instruments or slices, for the challenger.")
    ] = 10.0,
    by: By = Unit.INSTRUMENT,
    slice_: SliceS = "1h",  # type: ignore[assignment]
    instrument: Annotated[
        list[str] | None, typer.Option(help="Instrument: one that is traded, whose version is shown; repeatable.")
    ] = None,
    rule: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, see nautilus_torchserve/experiments/ab/rules.py.")
    ] = None,
    no_server: Annotated[bool, typer.Option("--no-server", help="Do not ask the server whether both answer.")] = False,
    store: Store = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Begin an experiment: routers follow it at once, its rules are fixed."""
    if no_server and baseline is None:
        raise typer.BadParameter("--baseline expected with --no-server, was missing")
    if not no_server:
        baseline = check_versions(server(), model, challenger, baseline)
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
    theirs, doubts = with_challenger(experiment, instrument or ()), concerns(experiment, instrument or ())
    if as_json:
        settings = asdict(Rules.from_json(experiment.settings))
        print(json.dumps({**asdict(experiment), "settings": settings, "with_challenger": theirs, "concerns": doubts}))
    say(experiment_words.described(experiment))
    if instrument and by is Unit.INSTRUMENT:
        say(f"with {challenger}: {', '.join(theirs) or 'none'} of {len(instrument)} instruments")
    for each in doubts:
        say(f"warning: {each}")


@app.command()
def status(
    model: AnyModel = None,
    store: Store = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """List experiments, what they have seen and what they say."""
    with TrafficStore(store) as traffic:
        found = [analyze_once(traffic, each.name) for each in experiments(traffic, model)]
    if as_json:
        print(json.dumps({"experiments": [each.as_dict() for each in found]}))
        return
    for each in found:
        counts = [f"{version.classification.predictions:,}" for version in (each.baseline, each.challenger)]
        say(experiment_words.described(each.experiment))
        say(f"  scored predictions {counts[0]} and {counts[1]}; {each.decision.action}: {each.decision.reason}")
    if not found:
        say("no experiments")


@app.command()
@takes_server
def analyze(
    server: FindTarget,
    name: Name,
    store: Store = DEFAULT_URL,
    auto: Annotated[bool, typer.Option("--auto", help="Carry the decision out on the server.")] = False,
    every: Annotated[float | None, seconds("With --auto: look again after so long; default: look once.")] = None,
    for_: ForS = "1d",  # type: ignore[assignment]
    watch: WatchS = _D.watch_s,
    drain: DrainS = _D.drain_s,
    as_json: Json = False,
) -> None:
    """Say what an experiment says so far; with --auto promote or remove its challenger when that is decided."""
    if every is not None and not auto:
        raise typer.BadParameter("--auto expected with --every, was missing")
    done: dict[str, Any] = {}
    with TrafficStore(store) as traffic:
        if auto:
            done = _follow(server(), traffic, name, _settings(every, for_, watch, drain))
        look = analyze_once(traffic, name)
    if as_json:
        print(json.dumps(look.as_dict() | ({"outcome": done} if auto else {})))
    else:
        _show(look)
    if auto:
        ended = f"{done['state']}: {done['reason']}"
        if not done["ok"]:
            raise UserError(ended)
        say(ended)


@app.command()
def stop(name: Name, store: Store = DEFAULT_URL, as_json: Json = False) -> None:
    """End an experiment without a verdict: the baseline serves on, the challenger stays registered."""
    with TrafficStore(store) as traffic:
        ended = traffic.end(find_experiment(traffic, name).name, State.STOPPED)
    if as_json:
        print(json.dumps(asdict(ended)))
    say(experiment_words.described(ended))


@app.command()
def simulate(
    number: Annotated[int, typer.Option("--experiments", min=4, help="Experiments of each kind.")] = 2_000,
    observations: Annotated[int, typer.Option(min=200, help="Predictions of each experiment.")] = 5_000,
    seed: Annotated[int, typer.Option(help="Seed: of the draws.")] = 1,
    as_json: Json = False,
) -> None:
    """Show the error rates: false promotions of equal versions, and how long a better one takes."""
    with console.status("Simulating"):
        found = error_rates(number, observations, seed)
    if as_json:
        print(json.dumps(found.as_dict()))
        return
    for table in experiment_words.error_rate_tables(found):
        console.print(table)
    say(experiment_words.error_rates_said(found))


def _follow(target: Target, traffic: TrafficStore, name: str, settings: AutoSettings) -> dict[str, Any]:
    for each in (signal.SIGINT, signal.SIGTERM):  # a promotion is undone; a job in the background ignores SIGINT else
        signal.signal(each, signal.default_int_handler)
    return follow(target, traffic, name, settings, say, lambda look: say(f"{name}: {look.decision.reason}")).as_dict()


def _settings(every: float | None, for_: float, watch: float, drain: float | None) -> AutoSettings:
    limits = Limits(watch_s=watch, drain_s=drain)
    if every is None:
        return AutoSettings(limits=limits)
    return AutoSettings(every_s=every, for_s=for_, limits=limits)


def _show(look: Analysis) -> None:
    say(experiment_words.described(look.experiment))
    console.print(experiment_words.metrics_table(look), experiment_words.differences_table(look))
    say(experiment_words.verdict(look))
