"""The processes of one run: their start, what they tell each other, and signals."""
