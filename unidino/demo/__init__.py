"""The shipped model: its data, what was tried, its scores and its card."""
