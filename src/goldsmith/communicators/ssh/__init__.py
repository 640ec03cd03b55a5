"""The communicator `ssh`: a machine that is reached over the network."""
