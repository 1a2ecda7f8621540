"""The base class of every error that a user can cause.

A command prints a `UserError` as one sentence on stderr and exits with the status of its class (`cli.app`); every
other exception is a bug and shows its traceback.

Hierarchy, by package (only what derives from the two bases directly)::

    UserError (status 1)
        InvalidArgument (status 2)
            wire        InvalidName
            market      BadInterval, BadReadOption
            training    BadConfig
            experiments BadRules, BadExperiment
            trading     BadSetting
        files           DamagedState
        wire            RequestError: one subclass for each HTTP status that a request can end with
        latency         BadProfile
        market          BadData
        inference       BadArchive, UnsupportedDevice
        signing         BadKey, NotPlain, Untrusted
        serving         BadProperties, NoToken, NoJava, StartFailed, HomeInUse, CannotEnd, ManagementError,
                        UnreadableArchive
        traffic         StoreFailed, SplitRefused
        training        BadRunFolder, BadCorpus, BadBackbone, BadWeights, BadMember, StudyInUse, TuningFailed
        release         BuildFailed, IncompleteArchive, ForbiddenImport, NoTarget, NoCounters, GateFailed,
                        RolloutRefused, RepairFailed, Unrecorded (status 3), WatchRefused
        experiments     NoExperiment
        mlflow_store    TrackingFailed
        registry        RegistryRefused
        trading         OtherArchive, TimeReversed, ImpossibleFill, NoParity, FeaturesFailed,
                        StrategyFailed, InputsDependOnPredictions, TradingHalted (status 3),
                        RunFailed (status of the run: 1, 3, 4 or 5)
        audit           LogFailed, UnknownRun, UnknownOrder
        reporting       BadReport
        cli             FeaturesLeak
        benchmarks      WrongResponse, ServerFailed, NodeFailed, LoadFailed
        fault_injection NoServerToAttack, HarmDone

A new error derives from the nearest of these, so that callers that catch the family catch it too.
"""


class UserError(Exception):
    """An input cannot be used; the message is one sentence that the user can act on.

    The message names the input (file and line, option, field), the value found, what was expected, and the option that
    helps where there is one.
    """

    exit_code: int = 1
    """Exit status of a command that ends with this error: 1 for a failed job, 2 for invalid arguments."""


class InvalidArgument(UserError, ValueError):
    """An option, a configuration file or a setting has a value that is not valid; nothing was begun."""

    exit_code = 2


def describe(error: OSError) -> str:
    """Return an error of the operating system as ``path: reason``."""
    paths = " to ".join(f"{path!s:.200}" for path in (error.filename, error.filename2) if path is not None)
    return f"{paths}: {error.strerror}" if paths else f"{error.strerror or error}"
