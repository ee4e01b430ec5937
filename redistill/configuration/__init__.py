"""The settings as one tree, and what `init` finds out and writes."""
