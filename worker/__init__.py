"""Makes things: claims jobs, runs models, checks, stores, settles, announces."""
