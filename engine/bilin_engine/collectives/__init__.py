"""What tensor-parallel ranks say to each other: three operations, whatever carries them."""
