"""The MLflow store that training runs and registered versions are kept in."""
