"""Train on small molecules, test on larger ones: quantum deep fields beside a graph network, at the same cost."""
