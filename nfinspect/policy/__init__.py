"""Configuration text, and the model that it becomes."""
