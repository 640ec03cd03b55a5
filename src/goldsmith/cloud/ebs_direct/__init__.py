"""The EBS direct API: snapshots read and written block by block, from any machine.

Blocks of 512 KiB are read into a sparse file (`reader`), and only those that differ from a parent's
are written back (`contents`, `delta`, `writer`). What a snapshot holds is known by an index of
digests, which the API itself does not tell.
"""
