"""One module per command of `pls` that is more than a few lines."""
