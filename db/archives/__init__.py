"""The archives of cycles, and the changes to them."""
