"""Corpora: MIDI files and Lakh pianorolls to training archives, near-duplicates removed."""
