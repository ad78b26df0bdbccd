"""Is a clip of video real? What natural motion looks like is learned from real clips alone."""
