"""The memory, in SQL. It decides nothing."""
