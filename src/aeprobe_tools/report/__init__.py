"""One experiment as one self-contained page, beside the numbers of the course report."""
