"""The shipped task plugins and studies. They use the same entry points as third parties'."""
