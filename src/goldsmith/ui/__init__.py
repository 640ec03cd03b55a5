"""Renderers: the one room that prints. Standard output is for people and data, stderr for logs."""
