"""What goes where: model, precision, devices, context and prompt length -> bytes per device.

Pure arithmetic: reads no device and no file, imports no torch.
"""
