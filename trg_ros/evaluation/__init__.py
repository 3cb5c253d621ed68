"""Measuring head poses: metrics and held-out sets."""
