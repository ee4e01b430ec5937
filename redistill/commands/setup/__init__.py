"""Commands for the first day: demo, distill, init, db, doctor."""
