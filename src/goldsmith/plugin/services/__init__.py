"""The services of the plugin protocol, each on both sides of the wire.

A `...Client` follows a protocol of `goldsmith.plugin.protocols` by calling the other side; what a
`..._service` function returns, or a `...Service` has, answers calls with an object that follows it.
"""
