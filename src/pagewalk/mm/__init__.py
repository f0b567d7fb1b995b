"""Linux's mm/: a file here is a Linux file."""
