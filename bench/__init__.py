"""What a step, an epoch and a whole run cost, beside what the machine could do: `make bench`."""
