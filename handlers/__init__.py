"""Inside TorchServe's worker: the only room that imports `ts`."""
