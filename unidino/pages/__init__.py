"""What the notebooks share: their parameters, figures and summaries."""
