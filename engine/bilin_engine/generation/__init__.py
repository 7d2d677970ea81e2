"""From prompt to tokens: layouts of prompts with masks, sampling, beam search.

`masks` imports no torch, so that the supervisor can lay prompts out.
"""
