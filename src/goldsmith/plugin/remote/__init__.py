"""Components of plugins as core sees them: found by name, prepared, run, and gone at the end."""
