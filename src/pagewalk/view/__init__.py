"""Faces: what a person sees."""
