"""The same programs under memory pressure on a real kernel (Debian's user-mode Linux) and in the model."""
