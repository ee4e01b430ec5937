"""Commands that do the work: the monitor, the worker, one cycle."""
