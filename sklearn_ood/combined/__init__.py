"""Several scores as one p-value and one confidence."""
