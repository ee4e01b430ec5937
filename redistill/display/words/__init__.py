"""Phrases for what the commands print, by subject."""
