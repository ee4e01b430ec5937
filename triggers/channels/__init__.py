"""Sending notifications: one module per service."""
