"""The operators of a change (EVOLUTION 2): what each does to a version, and what it keeps."""
