"""The command line: `livedb`. One module per group of commands; `main` joins them.

Exit codes: 0 done, 1 it could not be done (one line on stderr says why), 2 asked for wrongly.
"""
