"""Components in other processes: where their programs lie."""
