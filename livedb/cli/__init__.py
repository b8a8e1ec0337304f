"""The command line: `livedb`. One module per group of commands; `main` joins them.

Exit codes: 0 done, 1 it could not be done (stderr says why), 2 asked for wrongly.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("typer") is None:
    sys.exit("error: the command line needs more packages: pip install 'livedb[service]'")
