"""The engine as the app sees it: a child process, frames, requests with handles."""
