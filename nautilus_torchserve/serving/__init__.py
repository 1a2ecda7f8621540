"""Both ports of TorchServe from outside: starting it, requesting predictions, managing it."""
