"""The three models, what they share, and the zoo's format; none of them imports another."""
