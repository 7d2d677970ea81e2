"""The pages of the window. A page binds widgets, which take data in, to a controller."""
