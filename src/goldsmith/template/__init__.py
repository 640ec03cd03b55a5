"""The template languages: each ends in the same core objects, and nothing below knows which."""
