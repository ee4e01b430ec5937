"""Orders of a re-distillation: the decision, alpha, and whether the promoted student ended the drift."""
