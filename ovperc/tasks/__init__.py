"""The tasks: what differs after the classifier."""
