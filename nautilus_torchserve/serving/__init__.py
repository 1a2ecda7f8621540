"""Both ports of TorchServe from outside: starting it, asking it for predictions, managing it."""
