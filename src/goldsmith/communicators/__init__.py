"""The channels by which provisioners reach a machine or a tree."""
