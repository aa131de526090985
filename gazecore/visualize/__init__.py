"""One file = one artifact kind drawn; report.py and terminal.py show the drawings."""
