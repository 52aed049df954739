"""The deployed lane: the real templates and the real programs on an emulator of AWS."""
