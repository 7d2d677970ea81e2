"""How good a model is: probe questions and GLM-130B's own task files, on a model in this process.

For a command line: `command.add_arguments(parser)`, then `command.run(options, library, settings,
on_stage)` gives an `Evaluation`, which is printed `as_text()` or as JSON `as_json()`.
"""
