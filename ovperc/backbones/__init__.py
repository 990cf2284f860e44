"""Image and text towers of stock libraries behind one contract, and how their weights are read."""
