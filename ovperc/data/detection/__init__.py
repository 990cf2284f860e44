"""Images with boxes and masks of objects: readers of the public layouts, and what they give."""
