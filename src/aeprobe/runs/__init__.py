"""A run directory: who owns it, what it holds, and metrics.json."""
