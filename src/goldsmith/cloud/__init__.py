"""AWS: who asks (sessions), how it is asked (one retry layer), and how long is waited.

What every source that makes an AMI does is here too: the options of images, and the steps that
register, copy, share and tag them. The library is imported when the first client is made.
"""
