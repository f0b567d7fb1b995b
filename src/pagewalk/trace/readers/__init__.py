"""Readers for the traces of other tools: each yields ``pagewalk.trace.format.Batch`` one after another."""
