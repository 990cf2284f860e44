"""Tables made of finished runs: the model table, and published figures beside ours."""
