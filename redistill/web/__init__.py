"""The HTTP interface to the state of monitors. It imports no torch."""
