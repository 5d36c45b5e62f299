"""Who decides: answers and refusals."""
