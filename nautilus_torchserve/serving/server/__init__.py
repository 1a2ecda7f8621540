"""Starting, configuring and managing TorchServe."""
