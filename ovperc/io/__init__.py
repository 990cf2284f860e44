"""File input and output: images, masks, COCO annotations, output writers."""
