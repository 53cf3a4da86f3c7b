"""Evaluation: bits a note, landing on cuts, similarity to real songs, memorization, stability, mood."""
