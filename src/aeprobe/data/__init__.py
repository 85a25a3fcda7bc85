"""The images: read, split, and handed out in whole batches."""
