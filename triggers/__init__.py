"""The path from the history of cycles to decisions and their effects."""
