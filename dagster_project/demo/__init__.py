"""The simulated company that `pls demo-data` writes. Nothing else in the product depends on it."""
