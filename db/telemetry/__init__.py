"""The numbers that monitoring systems read: running counts, and the present state of a monitor."""
