"""How good a model is: probe questions and GLM-130B's own task files, on a model in this process.

The command line needs three things of it: `command.add_arguments`, `command.evaluate`, and the
report's `report.as_text` or `report.as_json`.
"""
