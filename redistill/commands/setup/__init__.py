"""Commands for the first day: demo, init, db, doctor."""
