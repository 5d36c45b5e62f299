"""One score of rows or of features a file."""
