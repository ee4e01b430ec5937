"""Teacher health: whether the teacher of a cycle can be trusted. All of it is pure."""
