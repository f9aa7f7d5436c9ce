"""What changes do to the rows of all versions: recorded, undone by a rollback, done again."""
