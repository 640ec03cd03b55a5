"""What a component of a plugin is written with: base classes, options, and how they are served."""
