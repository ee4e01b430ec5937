"""Notifying workers of a job: by the database alone, or by SQS."""
