"""diskimage-builder's ways to say what an image is: arguments, environment, and YAML."""
