"""One package a platform; each only translates."""
