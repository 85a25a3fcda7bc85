"""Many runs by one command: grids, searches, and the processes that run them."""
