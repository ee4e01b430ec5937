"""The calibration of students: its rows, when it is done, and its delivery to the service."""
