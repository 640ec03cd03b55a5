"""The `amazon-ebsdirect` post-processor: a disk image becomes an AMI, block by block."""

from goldsmith.post_processors.amazon_ebsdirect.post_processor import AmazonEbsdirect

__all__ = ["AmazonEbsdirect"]
