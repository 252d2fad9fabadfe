"""Sound as bytes: levels, widths, G.711, frames, rates, and what of it has been heard. Pure: no clock, no I/O."""
