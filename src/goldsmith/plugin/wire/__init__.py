"""The layers of Packer's plugin protocol, each of which knows nothing of the ones above it.

`handshake` finds the other process, `yamux` makes many streams of one connection, `broker` gives
them numbers, `rpc` calls methods on them. The others read and write what is inside the messages:
`gob` and `protobuf` in general, `hcl_spec_*` and `cty_*` in particular.
"""
