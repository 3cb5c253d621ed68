"""Labelled heads on disk, whatever their format, as one kind of sample. Robots never import this."""
