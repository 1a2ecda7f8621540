"""The way of a trained run into service: an archive, a version, a rollout."""
