"""Planning of long texts in a process of its own, so that no other client waits for it."""
