"""The cost of a step, an epoch and a whole run, beside what the machine could do: `make bench`."""
