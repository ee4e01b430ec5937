"""Loading the two models, and scoring texts with them."""
