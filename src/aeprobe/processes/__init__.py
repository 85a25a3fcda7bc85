"""The processes of one run: their start, and what they tell each other."""
