"""Recorded accesses: the native format, readers for those of other tools, recorders, and what replays them."""
