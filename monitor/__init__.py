"""The daemon: sample, score, measure and conclude one window after another."""
