"""What TorchServe loads: which model of the inference core a registration answers with, one a file."""
