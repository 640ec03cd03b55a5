"""Packer's older language: a template is one JSON document whose texts are Go templates."""
