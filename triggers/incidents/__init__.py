"""The path from a judged cycle to incidents and their notifications."""
