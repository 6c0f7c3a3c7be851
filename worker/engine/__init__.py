"""One thread that owns the models, and the pure rules of what it steps next."""
