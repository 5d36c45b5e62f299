"""What users pass, made flat float32 rows and integer codes."""
