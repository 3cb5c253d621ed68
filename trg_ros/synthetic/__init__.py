"""Labelled heads rendered from the ICT-FaceKit morphable model: geometry, appearance, scenes, data sets."""
