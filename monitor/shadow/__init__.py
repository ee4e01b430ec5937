"""The candidate in shadow, scored by each cycle beside the student in service."""
