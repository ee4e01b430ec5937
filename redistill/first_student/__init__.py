"""`redistill distill`: the making of a first student, and what is printed about it."""
