"""`python -m aeprobe.report`, the same as `aeprobe report`."""

import sys

from aeprobe.report.write import main

sys.exit(main())
