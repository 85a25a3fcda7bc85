"""`python -m aeprobe.results`, the same as `aeprobe results`."""

import sys

from aeprobe.results.table import main

sys.exit(main())
