"""One module per command of `pls` that is more than a few lines."""
"""Commands of `pls`, one module per group; `cli` adds them."""
