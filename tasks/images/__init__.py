"""The task of images."""
