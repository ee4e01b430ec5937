"""The simulated service of `redistill demo`."""
