"""What a picture can start from and be steered by: each mode a hook, each file one idea."""
