"""Run directories and metrics.json."""
