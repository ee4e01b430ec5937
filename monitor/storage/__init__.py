"""Clients of disk, S3 and zstandard."""
