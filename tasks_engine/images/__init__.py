"""Names of images. Pure."""
