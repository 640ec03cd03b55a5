"""Images streamed onto block devices: fetched, unpacked, proved and written in one pass."""
