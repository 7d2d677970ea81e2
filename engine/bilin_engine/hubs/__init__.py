"""Model hubs: what a repository holds, which of it is a model, and its bytes from any offset.

Two sources behind one seam (`base.HubSource`): Hugging Face's API anywhere, and ModelScope's.
Nothing here opens a connection unless `connection.Connection` was made for it; the supervisor
imports `catalog` and `tokens` alone and has no client of its own.
"""
