"""Long work in a process of its own: convert, verify, import, download. One piece a process."""
