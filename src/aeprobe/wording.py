"""Metrics as a person reads them. Needs neither torch nor matplotlib."""

from collections.abc import Mapping


def distinct(values: Mapping[str, float]) -> dict[str, float]:
    """Return metrics by their names, without an MSE that is the loss.

    >>> distinct({"val/loss": 0.02, "val/mse": 0.02, "val/f1": 0.5})
    {'val/loss': 0.02, 'val/f1': 0.5}
    """
    losses = {name: values.get(name.replace("/mse", "/loss")) for name in values if name.endswith("/mse")}
    return {name: value for name, value in values.items() if value != losses.get(name)}


def numbers(values: Mapping[str, float]) -> str:
    """Return metrics by their names in one line, each number once."""
    return "  ".join(f"{name} {value:.4f}" for name, value in distinct(values).items())
