"""What networks know of pictures in general. Each kind of prior is an interface, what ships, and nothing at all."""
