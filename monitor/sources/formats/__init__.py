"""Decoding the records of a request log."""
