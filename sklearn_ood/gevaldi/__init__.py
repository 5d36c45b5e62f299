"""Where classifiers differ."""
