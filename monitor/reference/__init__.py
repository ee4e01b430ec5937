"""The comparison of a window with an earlier, healthy one: texts and label mix."""
