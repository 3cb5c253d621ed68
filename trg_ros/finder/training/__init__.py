"""Making the finder: composed scenes, training, measurements, packaging. Robots import nothing of it."""
