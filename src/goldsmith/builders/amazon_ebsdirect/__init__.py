"""The `amazon-ebsdirect` source: an AMI of another one, without any instance or volume."""
