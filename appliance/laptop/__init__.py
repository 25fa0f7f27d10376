"""Runs of a working tree on this computer: the same engine, headless, for `rondo run`."""
