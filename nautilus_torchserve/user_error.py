"""The base class of every error that what a user gave can cause.

A command turns a `UserError` into one sentence on stderr and the exit status of its class
(`cli.app`); every other exception is a bug and shows its traceback.

Hierarchy, by package (only what derives from the two bases directly)::

    UserError (status 1)
        InvalidArgument (status 2)
            market      BadInterval, BadReadOption
            strategies  BadSetting
            training    BadConfig
            trials      BadRules, BadExperiment
            wire        InvalidName
        wire            DamagedState; RequestError: one subclass for each HTTP status that a request can end with
        market          BadData
        latency         BadProfile
        serving         BadProperties, NoToken, NoJava, StartFailed, HomeInUse, CannotEnd, ManagementError,
                        UnreadableArchive
        handlers        BadArchive, UnsupportedDevice
        traffic         StoreFailed, SplitRefused
        strategies      OtherArchive, TimeReversed, ImpossibleFill
        live_trading    Halted (status 3), RunFailed (status of the run: 1, 3, 4 or 5), NoParity
        training        BadRunFolder, BadCorpus, BadBackbone, BadMember, StudyInUse, TuningFailed
        signing         BadKey, NotPlain, Untrusted
        release         BuildFailed, IncompleteArchive, ForbiddenImport, NoTarget, NoCounters, GateFailed,
                        RolloutRefused, RepairFailed, Unrecorded (status 3), WatchRefused
        trials          NoExperiment
        tracking        TrackingFailed
        model_registry  RegistryRefused
        auditing        LogFailed, UnknownRun, UnknownOrder
        reporting       BadReport
        benchmarks      WrongResponse, ServerFailed, NodeFailed, LoadFailed
        fault_injection NoServerToAttack, HarmDone

A new error derives from the nearest of these, so that callers that catch the family catch it too.
"""


class UserError(Exception):
    """Something that the user gave cannot be used; the message is one sentence that the user can act on.

    The message names the input (file and line, option, field), the value found, what was expected, and the option that
    helps where there is one.
    """

    exit_code: int = 1
    """Exit status of a command that ends with this error: 1 for a failed job, 2 for invalid arguments."""


class InvalidArgument(UserError, ValueError):
    """An option, a configuration file or a setting with a value that cannot be meant; nothing was begun."""

    exit_code = 2


def describe(error: OSError) -> str:
    """Return what the operating system refused as ``path: reason``."""
    paths = " to ".join(f"{path!s:.200}" for path in (error.filename, error.filename2) if path is not None)
    return f"{paths}: {error.strerror}" if paths else f"{error.strerror or error}"
