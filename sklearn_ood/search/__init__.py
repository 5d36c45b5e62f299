"""Many small problems solved at once, on tensors."""
