"""The current state of a monitor, and its presentation on one screen."""
