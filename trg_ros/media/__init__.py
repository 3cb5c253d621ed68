"""Photos, videos and webcams in, with their cameras; overlay videos, pictures and JSON lines out."""
