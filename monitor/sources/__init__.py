"""Reading the requests of a window from a log."""
