"""`make soak`: what takes long and finds what happens seldom."""
