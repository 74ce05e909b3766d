"""Were the scores right? Frames of past scores and deals in, rates, curves and suggestions out; all of it pure."""
