"""What TorchServe loads: one network's answers a file, on top of `worker`."""
