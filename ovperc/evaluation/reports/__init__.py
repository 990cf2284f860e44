"""Tables of finished runs: the model table, and comparisons with published results."""
