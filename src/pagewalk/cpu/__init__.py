"""Instruction sets that run programs on a machine."""
