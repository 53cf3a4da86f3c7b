"""Mood of music: features, regressors fitted on human ratings, curves for a corpus, heads for film."""
