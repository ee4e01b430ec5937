"""True labels that arrive after their window, joined by request id."""
