"""The mood of music: valence and arousal, second by second, read from notes with NumPy alone."""
