"""The shadow of a candidate: its comparison with the student in service, before it is promoted."""
