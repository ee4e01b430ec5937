"""The user interface: commands, configuration, checks, demo."""
