"""Conformance: the model held against the running kernel, as a number.

``pagewalk conform`` runs the same operations, programs and layouts natively and in the model and counts what is equal.
There is no tolerance. A difference in the operations is shrunk to the shortest script that still shows it.
"""
