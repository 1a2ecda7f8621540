"""TorchServe's worker around the inference core: the only library code that imports `ts`."""
