"""What becomes of a trained run: an archive, a version, a rollout."""
