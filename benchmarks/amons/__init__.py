"""Every system of the publication on amons: one table, one plot of learning curves per class."""
