"""A worker process: one device rank with torch, driven by frames from the supervisor."""
