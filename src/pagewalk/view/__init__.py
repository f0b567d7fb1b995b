"""Faces: what a person sees. Plain data in, text out."""
