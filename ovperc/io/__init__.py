"""Reading and writing files: atomically, masks, COCO."""
