"""How reports look: pictures and pages. What they say is decided in `core/`."""
