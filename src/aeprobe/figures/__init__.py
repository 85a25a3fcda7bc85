"""Arrays in, a figure out; and what TensorBoard is given beside the curves."""
