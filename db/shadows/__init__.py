"""Shadows: candidates that cycles score beside the student in service before they are promoted."""
