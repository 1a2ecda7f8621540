"""The processes of a TorchServe."""

import psutil


def is_torchserve(pid: int) -> bool:
    """Whether this process is a TorchServe that lives."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "org.pytorch.serve.ModelServer" in process.cmdline()
    except psutil.Error:
        return False


def end_family(pid: int, within_s: float = 10.0) -> None:
    """Kill a TorchServe and its workers, and wait until they are gone."""
    if not is_torchserve(pid):
        return
    java = psutil.Process(pid)
    java.suspend()  # so that it starts no worker that we would not see
    processes = [java, *java.children(recursive=True)]
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=within_s)
