"""The checks of `redistill doctor`."""
